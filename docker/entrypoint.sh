#!/bin/sh
# Start a program of the image as the user that PUID and PGID name.
#
# The container begins as root for one reason: a new /config belongs to root.  Begun as another user
# (docker run --user) it changes nothing and only starts the program.  hashall, rehome and qbt-rules in
# /usr/local/bin are links to this file, so that `docker exec` gets the right user as well.
set -eu

programs=/opt/seedkeep/bin

say() {
    printf 'seedkeep: %s\n' "$1" >&2
    printf 'hint: %s\n' "$2" >&2
}

fail() {
    say "$1" "$2"
    exit 2
}

number() { # name, value
    case $2 in
        '' | *[!0-9]*) fail "$1 must be a number, not '$2'" "\`id\` on the host prints both numbers" ;;
    esac
}

case ${UMASK:=022} in
    [0-7][0-7][0-7] | 0[0-7][0-7][0-7]) umask "$UMASK" ;;
    *) fail "UMASK must have three octal digits, not '$UMASK'" "022 is usual, 002 if the group may write" ;;
esac

case ${TZ:-} in
    */*) [ -e "/usr/share/zoneinfo/$TZ" ] || say "there is no time zone $TZ; times are UTC" "like TZ=Europe/Vienna" ;;
esac

called=${0##*/}
case $called in
    hashall | rehome | qbt-rules) set -- "$programs/$called" "$@" ;;
    *) case ${1:-} in '' | -*) set -- qbt-rules "$@" ;; esac ;;
esac

# What a program starts is that program itself, not the link.
PATH=$programs:$PATH
export PATH

# One config.yml for all three; hashall and rehome would insist on a file that this variable names.
if [ -z "${HASHALL_CONFIG:-}" ] && [ -f /config/config.yml ]; then
    export HASHALL_CONFIG=/config/config.yml
fi

if [ "$(id -u)" -ne 0 ]; then
    [ -w /config ] || say "user $(id -u) may not write to /config" \
        "chown its folder on the host, or leave out \`user:\` and set PUID and PGID"
    exec "$@"
fi

uid=${PUID:-1000} gid=${PGID:-1000}
number PUID "$uid"
number PGID "$gid"

# Only /config, only what belongs to somebody else, and no further than its own filesystem.
if [ "$called" = seedkeep-entrypoint ]; then
    find /config -xdev \( ! -user "$uid" -o ! -group "$gid" \) -exec chown -h "$uid:$gid" {} + ||
        say "a part of /config keeps another owner" "a file that is mounted read-only may stay like that"
fi

# `group_add:` of compose stays in force; root's own group does not.
groups=''
for group in $(id -G); do
    [ "$group" -eq 0 ] || groups=${groups:+$groups,}$group
done
if [ -n "$groups" ]; then
    exec setpriv --reuid "$uid" --regid "$gid" --groups "$groups" --inh-caps=-all --no-new-privs -- "$@"
fi
exec setpriv --reuid "$uid" --regid "$gid" --clear-groups --inh-caps=-all --no-new-privs -- "$@"
