# Shared by the scripts in this directory that start real systems for the live tests (sourced, not run).
#
# Rules every script keeps:
#  * all state lives in $XQUTE_LIVE/<name> (default /tmp/xqute-live);
#  * stdout carries nothing but the one-line `export ...`; talk goes to stderr,
#    so `eval "$(tests/live/<name> up)"` works;
#  * daemons start with a clean environment, stdin from /dev/null, output to a
#    log file, no inherited file descriptors, so `up` works in a pipe, without
#    a tty and under a test runner, and nothing of the caller's environment
#    leaks into jobs;
#  * a process is signalled only by a pid this script recorded, after checking
#    that the pid still belongs to that daemon (no pkill, no killall).
#
# shellcheck shell=bash

XQUTE_LIVE=${XQUTE_LIVE:-/tmp/xqute-live}
CLEAN_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

say() { printf '%s: %s\n' "$NAME" "$*" >&2; }
die() { say "error: $*"; exit 1; }

svc_init() {
    NAME=$1
    mkdir -p "$XQUTE_LIVE"
    XQUTE_LIVE=$(cd "$XQUTE_LIVE" && pwd -P)
    DIR=$XQUTE_LIVE/$NAME
    # shellcheck disable=SC2034
    LOG=$DIR/log
    [ "$(id -u)" = 0 ] || die "must run as root"
    # A unix socket path may have 107 bytes; the longest below DIR has ~20.
    [ ${#DIR} -le 80 ] || die "XQUTE_LIVE is too long (${#DIR} > 80): $DIR"
    export PATH="$PATH:$CLEAN_PATH"
}

# svc_lock: one up/down of a service at a time (the fd is not passed on).
svc_lock() {
    exec 9>"$XQUTE_LIVE/.$NAME.lock"
    flock -w 300 9 || die "another $NAME up/down holds the lock"
}

# need_pkgs PKG...: install the Debian packages that are missing, without
# letting their maintainer scripts start a system-wide daemon.
need_pkgs() {
    local p missing=() made_policy=0 rc=0
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
            missing+=("$p")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    mkdir -p "$XQUTE_LIVE"
    (
        exec 8>"$XQUTE_LIVE/.apt.lock" 9>&-
        flock -w 600 8 || exit 1
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            made_policy=1
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
            chmod 755 /usr/sbin/policy-rc.d
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt=(apt-get -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -y --no-install-recommends)
        "${apt[@]}" install "${missing[@]}" 8>&- </dev/null ||
            { apt-get update 8>&- </dev/null && "${apt[@]}" install "${missing[@]}" 8>&- </dev/null; } ||
            rc=$?
        [ $made_policy = 0 ] || rm -f /usr/sbin/policy-rc.d
        exit $rc
    ) >"$XQUTE_LIVE/apt-$NAME.log" 2>&1 ||
        die "apt-get failed, see $XQUTE_LIVE/apt-$NAME.log"
}

# close_fds: forget everything above stderr that the caller left open.
close_fds() {
    local f n
    for f in /proc/self/fd/*; do
        n=${f##*/}
        [ "$n" -le 2 ] || [ "$n" = 255 ] || eval "exec $n>&-" 2>/dev/null || true
    done
}

# daemon LOGFILE [VAR=VALUE...] -- CMD...: run CMD (which forks into the
# background by itself) in a clean environment; its exit status is returned.
daemon() {
    local log=$1 env=()
    shift
    while [ "$1" != -- ]; do env+=("$1"); shift; done
    shift
    (
        cd /
        umask 022
        close_fds
        exec setsid -w env -i PATH="$CLEAN_PATH" HOME=/root SHELL=/bin/bash LANG=C.UTF-8 "${env[@]}" "$@"
    ) </dev/null >>"$log" 2>&1
}

# spawn PIDFILE LOGFILE [VAR=VALUE...] -- CMD...: the same for a program that
# stays in the foreground; its pid goes to PIDFILE.
spawn() {
    local pidfile=$1 log=$2 env=()
    shift 2
    while [ "$1" != -- ]; do env+=("$1"); shift; done
    shift
    (
        cd /
        umask 022
        close_fds
        # not a process-group leader here, so setsid execs and $! is the daemon
        setsid env -i PATH="$CLEAN_PATH" HOME=/root SHELL=/bin/bash LANG=C.UTF-8 "${env[@]}" "$@" &
        echo $! >"$pidfile"
    ) </dev/null >>"$log" 2>&1
}

# alive PIDFILE NEEDLE: print the pid when it runs and its command line (NULs
# as spaces) has NEEDLE in it.
alive() {
    local pid cmd
    [ -s "$1" ] || return 1
    read -r pid _ <"$1" || [ -n "$pid" ] || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    [ -r "/proc/$pid/cmdline" ] || return 1
    cmd=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || return 1
    [[ $cmd == *"$2"* ]] || return 1
    echo "$pid"
}

# stop_pid PIDFILE NEEDLE [SECONDS [SIGNAL]]: TERM, wait, then KILL.
stop_pid() {
    local pid i secs=${3:-10} sig=${4:-TERM}
    pid=$(alive "$1" "$2") || { rm -f "$1"; return 0; }
    kill -s "$sig" "$pid" 2>/dev/null || true
    for ((i = 0; i < secs * 20; i++)); do
        gone "$pid" && { rm -f "$1"; return 0; }
        sleep 0.05
    done
    say "pid $pid ($2) ignored $sig for ${secs}s, killing it"
    kill -s KILL "$pid" 2>/dev/null || true
    for ((i = 0; i < 100; i++)); do gone "$pid" && break; sleep 0.05; done
    rm -f "$1"
}

# gone PID: no such process, or only a zombie nobody reaped yet.
gone() {
    local s
    [ -r "/proc/$1/stat" ] || return 0
    s=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
    [ -z "$s" ] || [ "${s:0:1}" = Z ] || [ "${s:0:1}" = X ]
}

# wait_for SECONDS CMD...: until CMD succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$end" ] || return 1
        sleep 0.1
    done
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port PREFERRED [COUNT]: first of COUNT consecutive ports nobody answers
# on, at PREFERRED or some steps above it.
free_port() {
    local base=$1 n=${2:-1} i ok
    while [ "$base" -lt 32000 ]; do
        ok=1
        for ((i = 0; i < n; i++)); do
            if port_open $((base + i)); then ok=0; break; fi
        done
        [ $ok = 1 ] && { echo "$base"; return 0; }
        base=$((base + 100))
    done
    die "no free port from $1 up"
}

# kill_marked VAR=VALUE...: SIGKILL every process whose environment has, for
# each argument, that entry (`VAR=START*`: one that starts so). Used by `down`
# for the leftovers of what OUR daemons started: the marks name our directory.
# Never this script nor its ancestors.
kill_marked() {
    local p pid m env ok self=" $$ $BASHPID " a=$$
    while [ "$a" -gt 1 ] 2>/dev/null; do
        a=$(awk '/^PPid:/{print $2}' "/proc/$a/status" 2>/dev/null) || break
        self+="$a "
    done
    for p in /proc/[0-9]*; do
        pid=${p#/proc/}
        [[ $self == *" $pid "* ]] && continue
        { env=$'\n'$(tr '\0' '\n' <"$p/environ")$'\n'; } 2>/dev/null || continue
        ok=1
        for m in "$@"; do
            if [[ $m == *\* ]]; then
                [[ $env == *$'\n'"${m%\*}"* ]] || ok=0
            else
                [[ $env == *$'\n'"$m"$'\n'* ]] || ok=0
            fi
        done
        [ $ok = 0 ] || kill -s KILL "$pid" 2>/dev/null || true
    done
}

usage() {
    echo "usage: $0 up|down|status|env${1:-}" >&2
    exit 2
}
