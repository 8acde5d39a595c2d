#!/bin/sh
# Replace every replica of the service by one with the settings, image and bundle of now, and turn no request away:
# first as many new ones, and when those are ready the old ones end, each after what it is answering.
#   docker/upgrade.sh [service|service-gpu]
set -eu
service=${1:-service}
if docker compose version >/dev/null 2>&1; then compose="docker compose"; else compose=docker-compose; fi
# For a stack that is not called after this folder: COMPOSE_PROJECT_NAME.

replicas() { $compose ps --all -q "$service"; }
$compose rm --force "$service" >/dev/null 2>&1  # those that have ended; scaling would start them again
old=$(replicas)
num=$(echo "$old" | wc -w)
[ "$num" -gt 0 ] || { echo "no $service is running; start it with make up" >&2; exit 1; }

new() { replicas | grep -vxF "$old"; }
# All or none: whatever ends this before every new one is ready ends them all.
trap 'new | xargs -r docker rm --force >/dev/null' EXIT
trap 'exit 130' INT TERM

$compose up --detach --no-deps --no-recreate --scale "$service=$((2 * num))" "$service"
for id in $(new); do
    tries=0
    until [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ]; do
        tries=$((tries + 1))
        # One that ended once would end again.
        if [ "$tries" -gt 120 ] || [ "$(docker inspect --format '{{.RestartCount}}' "$id")" -gt 0 ]; then
            echo "a new replica does not get ready; the old ones still serve. Its log:" >&2
            docker logs --tail 20 "$id" >&2
            exit 1
        fi
        sleep 1
    done
done
trap - EXIT
for id in $old; do
    docker stop --time 30 "$id" >/dev/null
    docker rm "$id" >/dev/null
done
echo "$num new, $num ended"
