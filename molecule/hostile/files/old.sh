# shellcheck shell=sh
# An old deployment of the user ada. Its virtual environment borrows the packages of /opt/packages.
set -eu
mkdir -p /home/ada/shop/uploads /home/ada/shop/static
chmod 0711 /home/ada
cp /root/wsgi.py /home/ada/shop/wsgi.py
printf 'gunicorn>=24.1.1\n' > /home/ada/shop/requirements.txt
echo '/* of ada */' > /home/ada/shop/static/shop.css
python3 -m venv --without-pip /home/ada/shop/venv
echo /opt/packages > "$(echo /home/ada/shop/venv/lib/python3*/site-packages)/borrowed.pth"
printf '#!/home/ada/shop/venv/bin/python3\nfrom gunicorn.app.wsgiapp import run\nrun()\n' > /home/ada/shop/venv/bin/gunicorn
chmod 0755 /home/ada/shop/venv/bin/gunicorn
printf '%s\n' SECRET_KEY=the-secret-of-ada > /home/ada/shop/.env
for number in $(seq 300); do echo "upload $number" > "/home/ada/shop/uploads/$number.txt"; done
python3 -c 'import sqlite3; sqlite3.connect("/home/ada/shop/shop.db").execute("CREATE TABLE entry (text TEXT)")'
chown -R ada:ada /home/ada/shop
cat > /etc/systemd/system/ada-web.service <<'TEXT'
[Service]
User=ada
WorkingDirectory=/home/ada/shop
EnvironmentFile=/home/ada/shop/.env
Environment=HOME=/tmp
ExecStart=/home/ada/shop/venv/bin/gunicorn -w 1 -b unix:shop.sock wsgi:application
Restart=on-failure
[Install]
WantedBy=multi-user.target
TEXT
cat > /etc/nginx/conf.d/ada.conf <<'TEXT'
server {
    listen 80;
    server_name shop.example.org;
    location /static/ { alias /home/ada/shop/static/; }
    location /uploads/ { alias /home/ada/shop/uploads/; }
    location / { proxy_set_header Host $host; proxy_pass http://unix:/home/ada/shop/shop.sock; }
}
TEXT
systemctl daemon-reload
systemctl --quiet enable --now ada-web.service
for _attempt in $(seq 600); do [ -S /home/ada/shop/shop.sock ] && break; sleep 0.1; done
nginx -t
systemctl reload nginx
