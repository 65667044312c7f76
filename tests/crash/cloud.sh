#!/bin/sh
# A cloud made of files: create|destroy WORKSPACE_ID WORKSPACE_NAME RESOURCE. A resource is a file that holds its tag: the workspace's id.
# points/WORKSPACE_NAME may hold one line, VERB RESOURCE before|after runner|terraform|server|nobody stop|go: at that point that process
# gets SIGKILL, once, and this one ends or goes on.
set -eu
cloud=$(dirname "$0")
verb=$1 id=$2 name=$3 resource=$4

strike() {
  [ -e "$cloud/points/$name" ] || return 0
  read -r at of when whom then <"$cloud/points/$name"
  [ "$at $of $when" = "$verb $resource $1" ] || return 0
  mv "$cloud/points/$name" "$cloud/struck/$name"
  pid=$$ runner='' terraform='' server=''
  while [ "$pid" -gt 1 ]; do
    case $(cat "/proc/$pid/comm") in
      berth-runner) runner=$pid ;;
      terraform) terraform=$pid ;;
      berth-local) server=$pid ;;
    esac
    pid=$(cut -d ' ' -f 4 "/proc/$pid/stat")
  done
  case $whom in
    runner) kill -9 "$runner" ;;
    terraform) kill -9 "$terraform" ;;
    server) kill -9 "$server" ;;
    nobody) sleep 1.5 ;;
  esac
  [ "$then" = go ] || exit 1
}

strike before
case $verb in
  create) printf %s "$id" >"$cloud/resources/$id.$resource" ;;
  destroy) rm -f "$cloud/resources/$id.$resource" ;;
esac
# Long enough for the runner to see each state.
sleep 0.12
strike after
