#!/bin/sh
# What lies in the directories that the site serves, and what lies beside them and must not be seen.
set -eu
mkdir -p /srv/site/run /srv/site/docs
mkdir -p /srv/site/shared/static/.git /srv/site/shared/media/sub /var/www/acme/.well-known/acme-challenge
chown www-data: /srv/site/run
cd /srv/site
echo SECRET | tee shared/.env shared/static/.hidden shared/static/.git/config shared/media/.hidden docs/.hidden \
    /var/www/secret /var/www/acme/secret > /dev/null
printf 'body {}' | tee shared/static/app.css shared/static/app.0123abcd.css shared/static/app-0123456789abcdef.css > /dev/null
printf compressed > shared/static/app.css.gz
for name in page.html page.HTML page.htm page.xhtml page.svg page.js page.pdf page.xml page a.png a.JPG a.txt sub/a.png; do
    echo '<script>alert(1)</script>' > "shared/media/$name"
done
echo page > docs/page.txt
ln -s ../.env shared/static/link.css
ln -s ../.env shared/media/link.txt
ln -s ../../shared shared/media/directory
ln -s ../shared/.env docs/link.txt
printf token.answer > /var/www/acme/.well-known/acme-challenge/token
ln -s ../../secret /var/www/acme/.well-known/acme-challenge/link
printf 'admin:{PLAIN}right\n' > /etc/nginx/admins
chmod 0640 /etc/nginx/admins
chgrp www-data /etc/nginx/admins
