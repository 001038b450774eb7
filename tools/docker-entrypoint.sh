#!/bin/sh
# Once as root: the data folder becomes the service's, and there is an API key. Then root is dropped.
set -eu
data=${DATA_FOLDER:-/app/data}
user=${RUN_AS:-payouts}
mkdir -p "$data"
if [ -z "${PAYOUTS_API_KEY:-}" ]; then
  if [ ! -s "$data/api_key" ]; then
    (umask 077 && python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > "$data/api_key")
    echo "payouts: an API key was made; it is in the data folder's file api_key" >&2
  fi
  PAYOUTS_API_KEY=$(cat "$data/api_key")
  export PAYOUTS_API_KEY
fi
if [ "$(id -u)" = 0 ]; then
  chown -R "$user" "$data"
  exec setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups "$@"
fi
exec "$@"
