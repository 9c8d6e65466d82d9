# shellcheck shell=sh
# What the scripts of vars/faults.yml are made of.
set -eu
app=/srv/myapp
# shellcheck disable=SC2034 # the scripts use it
release=$app/releases/v1
other=$app/venvs/ba9876543210

keep() { stat -c 'chown %U:%G %n && chmod %a %n' "$@" > /root/kept; }
give_back() { sh /root/kept; }
bind() { python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$1"; }
state() { sed -i "s/\"state\": \"$1\"/\"state\": \"$2\"/" $app/.deploy/releases/v1.json; }
unit() {
    mkdir -p /run/systemd/system/myapp.service.d
    { echo '[Service]'; printf '%s\n' "$@"; } > /run/systemd/system/myapp.service.d/fault.conf
    systemctl daemon-reload
}
limited() {
    unit "$@" '[Unit]' StartLimitIntervalSec=1h StartLimitBurst=1
}
no_unit() {
    rm -r /run/systemd/system/myapp.service.d
    systemctl daemon-reload
}
site() {
    case $1 in *server_name*) name= ;; *) name='server_name fault;' ;; esac
    echo "server { listen 80; $name $1 }" > /etc/nginx/conf.d/fault.conf
}
no_site() { rm -f /etc/nginx/conf.d/fault.conf; }
# A copy of the live virtual environment, whose programs run in it.
other_set() {
    set=$(readlink -f $app/venv)
    cp -a "$set" $other
    grep -rlIF "$set" $other/bin | xargs sed -i "s#$set#$other#g"
}
listen() {
    setsid python3 -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
time.sleep(600)' "$1" < /dev/null > /dev/null 2>&1 &
    echo $! > /root/stranger
    until [ -S "$1" ]; do sleep 0.1; done
}
# shellcheck disable=SC2034
tls="ssl_certificate /root/tls.pem; ssl_certificate_key /root/tls.key; location /files/ { alias $app/shared/static/; }"
# A certificate for so many days; it has expired where they are less than none.
certificate() {
    openssl req -newkey rsa:2048 -nodes -subj /CN=fault -keyout /root/tls.key -out /root/tls.csr 2> /root/openssl
    printf '%s\n' '[ca]' default_ca=ca default_md=sha256 database=/root/tls.db new_certs_dir=/root serial=/root/tls.srl \
        policy=names '[names]' commonName=supplied > /root/tls.cnf
    : > /root/tls.db
    echo 01 > /root/tls.srl
    openssl ca -batch -selfsign -config /root/tls.cnf -keyfile /root/tls.key -in /root/tls.csr -out /root/tls.pem -notext \
        -startdate 20200101000000Z -enddate "$(date -u -d "$1 days" +%Y%m%d%H%M%SZ)" 2> /root/openssl
    rm -f /root/01.pem
}
room() { mount -t tmpfs -o "$1,uid=$(stat -c %u $app/shared/media),gid=$(stat -c %g $app/shared/media),mode=$(stat -c %a $app/shared/media)" tmpfs $app/shared/media; }
