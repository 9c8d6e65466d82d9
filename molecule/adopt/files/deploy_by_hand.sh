# shellcheck shell=sh
# Deployments made by hand. Their virtual environments use the packages of the first one.
set -eu

create_venv() {
    python3 -m venv --without-pip "$1"
    echo /opt/packages > "$(echo "$1"/lib/python3*/site-packages)/borrowed.pth"
    printf '#!%s/bin/python3\nfrom gunicorn.app.wsgiapp import run\nrun()\n' "$1" > "$1/bin/gunicorn"
    chmod 0755 "$1/bin/gunicorn"
}
write_code() { # directory
    mkdir -p "$1/static"
    cp /root/shop.py "$1/shop.py"
    printf 'gunicorn>=24.1.1\n' > "$1/requirements.txt"
    echo 'body { color: green }' > "$1/static/shop.css"
    mkdir -p "$1/__pycache__"
    echo compiled > "$1/__pycache__/shop.cpython-1.pyc"
}
fill_data() { # database, directory of uploads
    python3 - "$1" "$2" <<'PYTHON'
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
connection.executemany("INSERT INTO entry (text) VALUES (?)", [(f"before-{number}",) for number in range(500)])
connection.commit()
for number in range(40):
    with open(os.path.join(sys.argv[2], f"old-{number}.bin"), "wb") as file:
        file.write(os.urandom(20000))
PYTHON
}
start_service() { # unit, address
    systemctl daemon-reload
    systemctl --quiet enable --now "$1.service"
    python3 - "$2" <<'PYTHON'
import socket, sys, time
family, address = (socket.AF_UNIX, sys.argv[1]) if "/" in sys.argv[1] else (socket.AF_INET, ("127.0.0.1", int(sys.argv[1])))
for attempt in range(600):
    try:
        socket.socket(family).connect(address)
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit(1)
PYTHON
}

# A guide's quick setup: the layout's own directory, with a real directory app, and the unit of the application's name.
guide() {
    mkdir -p /srv/guide/shared/static /srv/guide/shared/media /srv/guide/run /srv/guide/app/instance /srv/guide/app/logs
    write_code /srv/guide/app
    create_venv /srv/guide/venv
    cp /srv/guide/app/static/shop.css /srv/guide/shared/static/
    fill_data /srv/guide/app/instance/shop.sqlite3 /srv/guide/shared/media
    cat > /srv/guide/shared/.env <<'TEXT'
SECRET_KEY=the-secret-of-the-guide
DATABASE=instance/shop.sqlite3
UPLOADS=/srv/guide/shared/media
LOG=logs/shop.log
TEXT
    chmod 0640 /srv/guide/shared/.env
    chown -R www-data:www-data /srv/guide/app/instance /srv/guide/app/logs /srv/guide/shared/media /srv/guide/run
    cat > /etc/systemd/system/guide.service <<'TEXT'
[Unit]
Description=The guide's shop
After=network.target
[Service]
User=www-data
Group=www-data
WorkingDirectory=/srv/guide/app
EnvironmentFile=/srv/guide/shared/.env
Environment=HOME=/tmp
ExecStart=/srv/guide/venv/bin/gunicorn --workers 2 --threads 2 --bind unix:/srv/guide/run/gunicorn.sock shop:app
Restart=always
[Install]
WantedBy=multi-user.target
TEXT
    start_service guide /srv/guide/run/gunicorn.sock
    cat > /etc/nginx/sites-available/guide.conf <<'TEXT'
server {
    listen 80;
    listen [::]:80;
    server_name guide.example.org;
    client_max_body_size 20m;
    location /static/ { alias /srv/guide/shared/static/; }
    location /uploads/ { alias /srv/guide/shared/media/; }
    location / { include proxy_params; proxy_pass http://unix:/srv/guide/run/gunicorn.sock; }
}
TEXT
    ln -sf ../sites-available/guide.conf /etc/nginx/sites-enabled/guide.conf
}

# Everything in a home directory, of one user, and a site in conf.d.
home() {
    useradd --create-home ada
    chmod 0711 /home/ada
    mkdir -p /home/ada/shop/uploads /home/ada/shop/logs /home/ada/shop/.git
    write_code /home/ada/shop
    create_venv /home/ada/shop/venv
    echo history > /home/ada/shop/.git/HEAD
    fill_data /home/ada/shop/shop.db /home/ada/shop/uploads
    cat > /home/ada/shop/.env <<'TEXT'
# What only the shop knows
SECRET_KEY="the secret of ada's shop"
DATABASE=shop.db
UPLOADS=uploads
TEXT
    chown -R ada:ada /home/ada/shop
    cat > /etc/systemd/system/ada-web.service <<'TEXT'
[Unit]
Description=Ada's shop
[Service]
User=ada
WorkingDirectory=/home/ada/shop
EnvironmentFile=/home/ada/shop/.env
Environment="LOG=logs/shop.log" HOME=/tmp
ExecStart=/home/ada/shop/venv/bin/gunicorn -w 2 -b unix:shop.sock shop:app
Restart=on-failure
UMask=0022
[Install]
WantedBy=multi-user.target
TEXT
    start_service ada-web /home/ada/shop/shop.sock
    cat > /etc/nginx/conf.d/ada.conf <<'TEXT'
upstream ada { server unix:/home/ada/shop/shop.sock fail_timeout=0; }
server {
    listen 80;
    server_name shop.example.org www.shop.example.org;
    location /static { alias /home/ada/shop/static; }
    location /uploads/ { alias /home/ada/shop/uploads/; }
    location / { proxy_set_header Host $host; proxy_pass http://ada; }
}
TEXT
}

# As root in /root, on a TCP port: the code in src/, data beside it, a database with a write-ahead log, and a
# worker. The application serves its uploads.
till() {
    mkdir -p /root/till/data/uploads
    write_code /root/till/src
    create_venv /root/till/src/.venv
    fill_data /root/till/data/till.sqlite /root/till/data/uploads
    # The unit sets all variables.
    cat > /etc/systemd/system/webapp.service <<'TEXT'
[Unit]
After=network.target cron.service
[Service]
WorkingDirectory=/root/till/src
Environment="SECRET_KEY=the secret of the till" DATABASE=/root/till/data/till.sqlite UPLOADS=../data/uploads
Environment=LOG=till.log JOURNAL=WAL
SupplementaryGroups=adm
LimitNOFILE=4096
MemoryMax=2G
UMask=0007
KeyringMode=private
ExecStart=/bin/sh -c 'cd /root/till/src && exec .venv/bin/gunicorn --workers=2 --keep-alive=65 --bind=127.0.0.1:8001 shop:app'
[Install]
WantedBy=multi-user.target
TEXT
    start_service webapp 8001
    cat > /etc/systemd/system/till-worker.service <<'TEXT'
[Service]
WorkingDirectory=/root/till/src
ExecStart=/root/till/src/.venv/bin/python3 -c 'import time; time.sleep(1e9)'
[Install]
WantedBy=multi-user.target
TEXT
    systemctl --quiet enable --now till-worker.service
    cat > /etc/nginx/sites-available/till <<'TEXT'
server {
    listen 80;
    server_name till.example.org;
    location / { proxy_set_header Host $host; proxy_read_timeout 90s; proxy_pass http://127.0.0.1:8001; }
}
TEXT
    ln -sf /etc/nginx/sites-available/till /etc/nginx/sites-enabled/till
}

# As Capistrano and Ansistrano deploy: releases, a link, and data in shared/, linked into each release by relative and by absolute
# paths; 25,000 uploads below its static files, and files that Nginx serves by itself.
blog() {
    mkdir -p /var/www/blog/shared/db /var/www/blog/shared/log /var/www/blog/shared/tmp /var/www/blog/shared/uploads
    write_code /var/www/blog/releases/20260420083000
    write_code /var/www/blog/releases/20260421120000
    create_venv /var/www/blog/shared/venv
    fill_data /var/www/blog/shared/db/blog.sqlite3 /var/www/blog/shared/uploads
    for name in db log; do ln -s ../../shared/$name /var/www/blog/releases/20260421120000/$name; done
    ln -s /var/www/blog/shared/uploads /var/www/blog/releases/20260421120000/uploads
    mkdir -p /var/www/blog/shared/avatars
    python3 -c 'for number in range(25000): open(f"/var/www/blog/shared/avatars/{number}.txt", "w").write(str(number))'
    ln -s ../../../shared/avatars /var/www/blog/releases/20260421120000/static/avatars
    mkdir /var/www/blog/releases/20260421120000/public
    echo 'User-agent: *' > /var/www/blog/releases/20260421120000/public/robots.txt
    printf '%s\n' SECRET_KEY=the-secret-of-the-blog DATABASE=/var/www/blog/current/db/blog.sqlite3 UPLOADS=uploads \
        LOG=log/blog.log > /var/www/blog/shared/.env
    ln -s ../../shared/.env /var/www/blog/releases/20260421120000/.env
    chown -R www-data:www-data /var/www/blog/shared
    ln -s releases/20260421120000 /var/www/blog/current
    cat > /etc/systemd/system/blog-gunicorn.service <<'TEXT'
[Service]
User=www-data
Group=www-data
WorkingDirectory=/var/www/blog/current
EnvironmentFile=/var/www/blog/shared/.env
Environment=HOME=/tmp
ExecStart=/var/www/blog/shared/venv/bin/gunicorn --workers 2 --bind unix:/var/www/blog/shared/tmp/blog.sock shop:app
[Install]
WantedBy=multi-user.target
TEXT
    start_service blog-gunicorn /var/www/blog/shared/tmp/blog.sock
    cat > /etc/nginx/sites-enabled/blog <<'TEXT'
server {
    listen 80;
    server_name blog.example.org;
    root /var/www/blog/current/public;
    location /static/ { alias /var/www/blog/current/static/; }
    location /uploads/ { alias /var/www/blog/shared/uploads/; }
    location / { try_files $uri @blog; }
    location @blog { proxy_set_header Host $host; proxy_pass http://unix:/var/www/blog/shared/tmp/blog.sock; }
}
TEXT
}

guide
home
till
blog
nginx -t
systemctl reload nginx
