#!/bin/sh
# Every file and link that Nginx reads, with what would tell that it was touched, and the running Nginx.
set -eu
find /etc/nginx -not -type d -printf '%p %m %u:%g %i %T@ %l\n' | sort
cat /run/nginx.pid
