#!/bin/sh
# gitops-hooks @HOOK@ -- written by `gitops-hooks install`, taken away by `gitops-hooks uninstall`.
@PICKS@binary=@BINARY@
[ -x "$binary" ] || binary=$(command -v gitops-hooks) || {
    echo "gitops-hooks: the program that runs the @HOOK@ hook is gone from @SHOWN@; put it back, or remove this hook with: rm '$0'" >&2
    exit @GONE@
}
exec "$binary" hook @HOOK@ "$@"
