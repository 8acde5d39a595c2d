#!/bin/sh
# Serve over TLS where a certificate is mounted, otherwise over plain HTTP, for a proxy with TLS in front of this one.
set -eu
if [ -s /etc/cin-tls/tls.crt ] && [ -s /etc/cin-tls/tls.key ]; then
    cp /etc/cin/tls.conf /tmp/listen.conf
else
    echo 'listen 8080;' > /tmp/listen.conf
fi
exec nginx -e stderr -c /etc/cin/nginx.conf
