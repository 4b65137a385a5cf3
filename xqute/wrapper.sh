#!/bin/sh
@DIRECTIVES@
# xqute start @START@ of @WHOSE@
## The script every job runs in: POSIX sh, one fork. Words between at signs are filled in by
## wrapper.py, already quoted. Lines that begin with two hashes are for readers and are not copied.
##
## job.status is three things at once: the claim (created exclusively, so a second copy of the same
## start leaves without running anything), the news (RUNNING, then one line about the end) and the
## fence (when a later start's file lies there, nothing is written any more).
d=@DIR@
exec 2>/dev/null
set -C
command exec 3>"$d/job.status" || { [ -e "$d/job.status" ] && exit 0; exit 75; }
set +C
## Nothing ran: the start is given back. Who hands it over again removes a claim that says so; the word
## is no line, so that it is no news. Without room for it the claim itself goes.
give_back() {
  trap - EXIT
  printf @RETURNED@ >&3 || rm -f "$d/job.status"
  exit 75
}
sig= at=
end() {
  trap '' TERM HUP XCPU
  trap - EXIT
  ## Without a process for the payload a shell gives up at the fork, with 2 or (bash) 254.
  case $1$2 in
    2fork | 254fork) [ -s "$d/job.status" ] || give_back ;;
    ## A signal that is nobody's business ends bash by way of this trap, with the payload still there.
    0fork) return ;;
  esac
  @POSTSCRIPT@
  if [ "$1$sig" = 0 ]; then news="FINISHED 0"; else news="FAILED $1${sig:+ $sig}"; fi
  while [ "$d/job.status" -ef /dev/fd/3 ] || exit 76; do
    ## What the payload left in the place of the rc (a link, a pipe) is neither followed nor waited for.
    if [ -e "$d/job.rc" ] || [ -h "$d/job.rc" ]; then rm -rf "$d/job.rc"; fi
    echo "$1" >|"$d/job.rc"
    echo "$news" >&3 && break
    ## A full disk: the end is told when there is room again, after whatever part of a line got in.
    sleep 1
    echo >&3
  done
  exit @EXIT@
}
## In an EXIT trap after a signal $? is 0 in some shells: who was asked to stop remembers it.
trap 'end $? $at' EXIT
trap 'sig=TERM' TERM
trap 'sig=HUP' HUP
trap 'sig=XCPU' XCPU
## These are the payload's business; the wrapper must outlive them to tell the rc.
trap : INT QUIT USR1 USR2
## Opened once, before anything runs: what is in the place of these files later is never opened.
@OUTPUTS@
## In braces, and so read to its end before: a shell that can't read it never was at the fork.
{
  at=fork
  (
    trap - HUP INT QUIT TERM USR1 USR2 XCPU EXIT
    echo "RUNNING $$" >&3
    ## Asked to stop before there was a payload to take the signal.
    [ -z "$sig" ] || exit 143
    command exec 2>@STDERR@ <@STDIN@ >@STDOUT@ 3>&- 4>&- 5>&- || exit
    export @EXPORTS@
    cd @CWD@ || exit 126
    @PRESCRIPT@
    exec @ARGV@
  )
}
end $?
