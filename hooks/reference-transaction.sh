#!/bin/sh
# gitops-hooks reference-transaction -- written by `gitops-hooks install`, taken away by `gitops-hooks uninstall`.
# git calls this for every movement of any reference, hundreds of times in one fetch. Only a remote-tracking branch that an
# environment follows is worth starting the program for, and whatever happens to the program must never stop git.
kept=@KEPT@
if [ -x "$kept" ]; then
    lines=$(cat)
    printf '%s\n' "$lines" | "$kept" "$@" || exit $?
    case $1 in @STATES@) ;; *) exit 0 ;; esac
else
    case $1 in @STATES@) ;; *) exit 0 ;; esac
    lines=$(cat)
fi
case $lines in @CASES@) ;; *) exit 0 ;; esac
binary=@BINARY@
[ -x "$binary" ] || binary=$(command -v gitops-hooks) || {
    echo "gitops-hooks: the program is gone from @SHOWN@; what was pushed is not delivered" >&2
    exit 0
}
printf '%s\n' "$lines" | "$binary" hook reference-transaction "$1"
exit 0
