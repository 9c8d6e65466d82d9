# shellcheck shell=sh
# Deployments by other hands, as guides and other tools leave them. Their environments borrow the packages of the healthy one.
set -eu
packages=$(echo /srv/myapp/venvs/*/lib/python3*/site-packages)

environment() {
    python3 -m venv --without-pip "$1"
    echo "$packages" > "$(echo "$1"/lib/python3*/site-packages)/borrowed.pth"
    printf '#!%s/bin/python3\nfrom gunicorn.app.wsgiapp import run\nrun()\n' "$1" > "$1/bin/gunicorn"
    chmod 0755 "$1/bin/gunicorn"
}
code() {
    mkdir -p "$1"
    printf '%s\n' 'def app(environ, start_response):' '    start_response("200 OK", [])' '    return [b"Hello"]' > "$1/wsgi.py"
}
service() { # name, user, directory, environment, one more setting, socket
    # Gunicorn wants to write to its home, whatever its version.
    printf '%s\n' '[Unit]' "Description=$1" '[Service]' "User=$2" "Group=$2" "WorkingDirectory=$3" "$5" \
        'Environment=HOME=/tmp' 'PrivateTmp=yes' \
        "ExecStart=$4/bin/gunicorn --workers 1 --bind unix:$6 wsgi:app" 'Restart=on-failure' \
        '[Install]' 'WantedBy=multi-user.target' > "/etc/systemd/system/$1.service"
    systemctl daemon-reload
    systemctl --quiet enable --now "$1.service"
    for _attempt in $(seq 600); do [ -S "$6" ] && return; sleep 0.1; done
    exit 1
}
site() { # name, port, socket, more
    printf '%s\n' 'server {' "    listen $2;" "    server_name $1.example.org;" "    $4" \
        "    location / { include proxy_params; proxy_pass http://unix:$3; }" '}' > "/etc/nginx/conf.d/$1.conf"
}

# A guide's quick setup: the code is a real directory, and Gunicorn binds its own socket.
guide() {
    mkdir -p /srv/guide/shared/static /srv/guide/shared/media /srv/guide/run
    code /srv/guide/app
    environment /srv/guide/venv
    chown www-data:www-data /srv/guide/shared/media /srv/guide/run
    install -m 0640 -g www-data /dev/null /srv/guide/shared/.env
    service guide www-data /srv/guide/app /srv/guide/venv EnvironmentFile=/srv/guide/shared/.env /srv/guide/run/gunicorn.sock
    site guide 8091 /srv/guide/run/gunicorn.sock 'location /static { alias /srv/guide/shared/static/; }'
}

# Everything in a home directory, of one user.
home() {
    useradd --create-home ada
    chmod 0700 /home/ada
    code /home/ada/shop
    environment /home/ada/shop/venv
    mkdir /home/ada/shop/.git
    echo SECRET_KEY=secret > /home/ada/shop/.env
    touch /home/ada/shop/shop.db
    chown -R ada:ada /home/ada/shop
    service shop ada /home/ada/shop /home/ada/shop/venv EnvironmentFile=/home/ada/shop/.env /home/ada/shop/shop.sock
    site shop 8092 /home/ada/shop/shop.sock 'location /static/ { alias /home/ada/shop/static/; }'
}

# As Capistrano and Ansistrano do, and nobody has restarted it after the last switch.
current() {
    code /srv/blog/releases/20260420083000
    code /srv/blog/releases/20260421120000
    environment /srv/blog/shared/venv
    mkdir -p /srv/blog/shared/tmp
    chown www-data:www-data /srv/blog/shared/tmp
    ln -s releases/20260420083000 /srv/blog/current
    service blog www-data /srv/blog/current /srv/blog/shared/venv UMask=0022 /srv/blog/shared/tmp/blog.sock
    site blog 8093 /srv/blog/shared/tmp/blog.sock ''
    ln -sfn releases/20260421120000 /srv/blog/current
}

guide
home
current
nginx -t
