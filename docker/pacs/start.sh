#!/bin/sh
# Orthanc takes the password from its environment, where orthanc.json names it.
set -eu
PACS_PASSWORD=$(cat /run/secrets/pacs-password)
export PACS_PASSWORD
exec Orthanc /etc/cin/orthanc.json
