#!/bin/sh
# gitops-hooks @HOOK@ -- written by `gitops-hooks install`, taken away by `gitops-hooks uninstall`.
# The configuration has nothing for this hook: one of the user's own hooks folder still runs.
kept=@KEPT@
[ -x "$kept" ] || exit 0
exec "$kept" "$@"
