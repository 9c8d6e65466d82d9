# shellcheck shell=sh
# What the scripts of vars/faults.yml are made of.
set -eu
app=/srv/myapp
# shellcheck disable=SC2034 # the scripts use it
release=$app/releases/v1

keep() { stat -c 'chown %U:%G %n && chmod %a %n' "$@" > /root/kept; }
give_back() { sh /root/kept; }
bind() { python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$1"; }
state() { sed -i "s/\"state\": \"$1\"/\"state\": \"$2\"/" $app/.deploy/releases/v1.json; }
unit() {
    mkdir -p /run/systemd/system/myapp.service.d
    { echo '[Service]'; printf '%s\n' "$@"; } > /run/systemd/system/myapp.service.d/fault.conf
    systemctl daemon-reload
}
no_unit() {
    rm -r /run/systemd/system/myapp.service.d
    systemctl daemon-reload
}
site() {
    case $1 in *server_name*) name= ;; *) name='server_name fault;' ;; esac
    echo "server { listen 80; $name $1 }" > /etc/nginx/conf.d/fault.conf
}
no_site() { rm /etc/nginx/conf.d/fault.conf; }
room() { mount -t tmpfs -o "$1,uid=$(stat -c %u $app/shared/media),gid=$(stat -c %g $app/shared/media),mode=$(stat -c %a $app/shared/media)" tmpfs $app/shared/media; }
