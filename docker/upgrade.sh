#!/bin/sh
# Replace every replica of the service by one with the settings, image and bundle of now, and turn no request away:
# first as many new ones, and when those are ready the old ones end, each after what it is answering.
#   docker/upgrade.sh [service|service-gpu]
set -eu
service=${1:-service}
if docker compose version >/dev/null 2>&1; then compose="docker compose"; else compose=docker-compose; fi
# For a stack that is not called after this folder: COMPOSE_PROJECT_NAME.

replicas() { $compose ps -q "$service"; }
$compose rm --force "$service" >/dev/null 2>&1  # those that have ended; scaling would start them again
old=$(replicas)
num=$(echo "$old" | wc -w)
[ "$num" -gt 0 ] || { echo "no $service is running; start it with make up" >&2; exit 1; }

$compose up --detach --no-deps --no-recreate --scale "$service=$((2 * num))" "$service"
for id in $(replicas); do
    case "$old" in *"$id"*) continue ;; esac
    tries=0
    until [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 120 ]; then
            echo "a new replica is not ready after two minutes; the old ones still serve. Its log:" >&2
            docker logs --tail 20 "$id" >&2
            docker rm --force "$id" >/dev/null
            exit 1
        fi
        sleep 1
    done
done
for id in $old; do
    docker stop --time 30 "$id" >/dev/null
    docker rm "$id" >/dev/null
done
echo "$num new, $num ended"
