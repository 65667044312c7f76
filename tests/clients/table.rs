//! What is compared, client by client.

use super::pair::{
    Compared::{self, All, Code, Output},
    Row,
};

const fn row(name: &'static str, code: i32, compared: Compared, line: &'static str) -> Row {
    Row { name, code, line, compared }
}

/// Commands, terminals, environments, and what becomes of processes.
pub(super) const OPENSSH: &[Row] = &[
    row("exit codes are exact", 0, All, r#"for code in 0 1 42 127 255; do ssh $HOST "exit $code"; echo $?; done"#),
    row("a command that does not exist", 127, All, "ssh $HOST no-such-command"),
    row("death by signals", 0, All, r#"for name in HUP INT TERM KILL SEGV USR2; do ssh $HOST "kill -$name \$\$"; echo $?; done"#),
    row("standard error is apart", 4, All, "ssh $HOST 'for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 4'"),
    row("end of input reaches the command", 0, All, r"printf 'a\nb\n' | ssh $HOST 'cat; echo after'"),
    row("a command that closes its output goes on", 5, All, "ssh $HOST 'echo first; exec >&- 2>&-; sleep 0.5; exit 5'"),
    row("input that nobody reads", 6, All, "head -c 20000000 /dev/zero | ssh $HOST 'exec <&-; sleep 0.2; exit 6'"),
    row("20 MB there and back", 0, All, "head -c 20000000 /dev/urandom > in; ssh $HOST cat < in | cmp - in && echo same"),
    row(
        "new keys all the time, down and up",
        0,
        All,
        r#"size=5000000
        ssh -n -o RekeyLimit=1M $HOST "head -c $size /dev/zero" | cmp -n $size - /dev/zero && echo down
        head -c $size /dev/zero | ssh -o RekeyLimit=1M $HOST "cmp -n $size - /dev/zero && echo up""#,
    ),
    row("a script on a login shell's input", 9, All, "echo 'echo $0; shopt -q login_shell && echo login; exit 9' | ssh -T $HOST"),
    row(
        "terminal modes, size and type",
        0,
        All,
        r#"script -qec "stty cols 99 rows 33 -ixon -echo intr ^X quit undef iutf8 -onlcr; ssh -t $HOST 'stty -a; echo \$TERM'" /dev/null"#,
    ),
    row("the terminal's name", 0, All, r#"ssh -tt $HOST 'test "$SSH_TTY" = "$(tty)" && test -t 0 && test -t 2 && echo yes'"#),
    row(
        "a window that changes",
        0,
        All,
        r#"cat > inner <<END
        stty cols 80 rows 24
        ( while ! test -e ready; do sleep 0.1; done; stty cols 120 rows 40 < /dev/tty ) &
        exec ssh -t $HOST "trap 'stty size; exit 0' WINCH; stty size; touch $DIR/ready; while :; do sleep 0.1; done"
END
        script -qec 'bash inner' /dev/null | tr -d '^@'"#,
    ),
    row(
        "control-C on a terminal",
        42,
        Code,
        r#"mkfifo keys; ssh -tt $HOST "trap 'exit 42' INT; touch $DIR/ready; while :; do sleep 0.1; done" < keys & exec 3> keys
        while ! test -e ready; do sleep 0.1; done; printf '\003' >&3; wait $!"#,
    ),
    row(
        "variables of the client",
        0,
        All,
        r#"LC_BERTH=one ssh -o SendEnv=LC_BERTH -o "SetEnv=WISH=two" $HOST 'echo "$LC_BERTH $WISH"'"#,
    ),
    row("where the client is", 0, All, "ssh $HOST 'set -- $SSH_CLIENT; echo $#; set -- $SSH_CONNECTION; echo $# ${SSH_TTY-none}'"),
    row(
        "bash reads its file for a command",
        0,
        All,
        r#"ssh $HOST 'echo "export FROM_RC=yes" > ~/.bashrc'; ssh $HOST 'echo $FROM_RC; rm ~/.bashrc'"#,
    ),
    row(
        "what a command inherits",
        0,
        All,
        "ssh $HOST 'ls /proc/self/fd; grep SigBlk /proc/self/status; trap -p; umask; ulimit -n; test $(ps -o sid= -p $$) = $$ && echo leader'",
    ),
    row(
        "what a terminal inherits",
        0,
        All,
        "ssh -tt $HOST 'ls /proc/self/fd; grep SigBlk /proc/self/status; trap -p; test $(ps -o tpgid= -p $$) = $(ps -o pgid= -p $$) && echo front'",
    ),
    row("a command line of 100 kB", 0, All, r#"ssh $HOST "printf %s $(printf 'x%.0s' $(seq 100000)) | wc -c""#),
    row("no subsystem of that name", 255, All, "ssh -s $HOST nonsense"),
    row("X11 is refused", 0, All, "DISPLAY=127.0.0.1:99 ssh -X $HOST 'echo ${DISPLAY-none}'"),
    row("keepalives are answered", 0, All, "ssh -o ServerAliveInterval=1 -o ServerAliveCountMax=1 $HOST 'sleep 3.5; echo alive'"),
    row(
        "a background process with its own output does not hold the session",
        0,
        All,
        "time=$SECONDS; ssh $HOST 'sleep 30 >/dev/null 2>&1 & echo started'; test $((SECONDS - time)) -lt 25",
    ),
    row(
        "when the client vanishes, a reader ends, nohup and the silent go on",
        0,
        Output,
        r#"mkfifo input; ssh $HOST "nohup sleep 71 > /dev/null 2>&1 & echo \$! > $DIR/nohup; echo \$\$ > $DIR/reader; cat > /dev/null; touch $DIR/ended" < input &
        reader=$!; exec 3> input
        ssh -n $HOST "echo \$\$ > $DIR/silent; exec sleep 72" & silent=$!
        while ! test -s reader -a -s silent; do sleep 0.1; done
        kill -9 $reader $silent
        while ! test -e ended; do sleep 0.1; done; echo the reader ended
        kill $(cat nohup) && echo nohup went on; kill $(cat silent) && echo the silent went on"#,
    ),
    row(
        "when the client vanishes, a terminal hangs up",
        0,
        Output,
        r#"mkfifo keys; ssh -tt $HOST "trap 'touch $DIR/hup; exit' HUP; touch $DIR/ready; while :; do sleep 0.1; done" < keys > /dev/null & exec 3> keys
        while ! test -e ready; do sleep 0.1; done; kill -9 $!; while ! test -e hup; do sleep 0.1; done; echo hung up"#,
    ),
    row(
        "twenty connections at once",
        0,
        All,
        r#"for i in $(seq 20); do ssh -n $HOST "sleep 0.5; exit $i" & pids="$pids $!"; done; for pid in $pids; do wait $pid; echo $?; done"#,
    ),
    row(
        "a stopped client finds every byte when it goes on",
        0,
        Output,
        r#"ssh -n $HOST "seq 6000000" > out & client=$!
        while ! test -s out; do sleep 0.1; done; kill -STOP $client; sleep ${BERTH_PAUSE_SECONDS:-4}; kill -CONT $client; wait $client; echo $?
        seq 6000000 | cmp - out && echo same"#,
    ),
];

/// Ports and sockets, both ways.
pub(super) const FORWARDS: &[Row] = &[
    row(
        "a local forward, half-closed streams",
        0,
        All,
        r#"python3 $CLIENTS/tcp.py serve > port & service=$!; while ! test -s port; do sleep 0.1; done
        ssh -fN -M -S control $HOST
        port=$(python3 $CLIENTS/tcp.py free); ssh -S control -O forward -L $port:localhost:$(cat port) $HOST
        python3 $CLIENTS/tcp.py ask $port 3000000; for i in 1 2 3 4 5; do python3 $CLIENTS/tcp.py ask $port 100000 & pids="$pids $!"; done; wait $pids
        ssh -S control -O exit $HOST 2> /dev/null; kill $service"#,
    ),
    row(
        "standard streams are a forward",
        0,
        All,
        r#"python3 $CLIENTS/tcp.py serve > port & service=$!; while ! test -s port; do sleep 0.1; done
        printf 12345 | ssh -W 127.0.0.1:$(cat port) $HOST; kill $service"#,
    ),
    row("a forward to a port where nobody listens", 255, Output, "ssh -W 127.0.0.1:1 $HOST"),
    row("a forward to a host that does not exist", 255, Output, "ssh -W no-such-host.invalid:22 $HOST"),
    row(
        "a remote forward to a free port, and its end",
        0,
        All,
        r#"python3 $CLIENTS/tcp.py serve > port & service=$!; while ! test -s port; do sleep 0.1; done
        ssh -fN -M -S control $HOST
        for where in 0 localhost:0 127.0.0.1:0; do
            remote=$(ssh -S control -O forward -R $where:127.0.0.1:$(cat port) $HOST); test "$remote" -gt 1023 && python3 $CLIENTS/tcp.py ask $remote 500000
        done
        ssh -S control -O exit $HOST 2> /dev/null; while test "$(python3 $CLIENTS/tcp.py refuses $remote)" = listens; do sleep 0.1; done; echo closed; kill $service"#,
    ),
    row(
        "a remote forward that is cancelled",
        0,
        All,
        r#"python3 $CLIENTS/tcp.py serve > port & service=$!; while ! test -s port; do sleep 0.1; done; free=$(python3 $CLIENTS/tcp.py free)
        ssh -fN -M -S control $HOST; ssh -S control -O forward -R $free:127.0.0.1:$(cat port) $HOST; python3 $CLIENTS/tcp.py ask $free 1000
        ssh -S control -O cancel -R $free:127.0.0.1:$(cat port) $HOST; python3 $CLIENTS/tcp.py refuses $free; ssh -S control -O exit $HOST 2> /dev/null; kill $service"#,
    ),
    row(
        "a remote forward of a port that is taken",
        255,
        Code,
        r#"python3 $CLIENTS/tcp.py occupy > port & service=$!; while ! test -s port; do sleep 0.1; done
        ssh -N -o ExitOnForwardFailure=yes -R $(cat port):127.0.0.1:1 $HOST; code=$?; kill $service; exit $code"#,
    ),
    row(
        "sockets both ways",
        0,
        All,
        r#"cd /tmp; short=$(mktemp -d); cd $short; trap "rm -r $short" EXIT
        python3 $CLIENTS/tcp.py serve $short/service > ready & service=$!; while ! test -s ready; do sleep 0.1; done
        ssh -fN -M -S control $HOST
        ssh -S control -O forward -L $short/local:$short/service $HOST; python3 $CLIENTS/tcp.py ask $short/local 700000
        ssh -S control -O forward -R $short/remote:$short/service $HOST; python3 $CLIENTS/tcp.py ask $short/remote 700000; stat -c %a remote
        ssh -S control -O exit $HOST 2> /dev/null; kill $service"#,
    ),
    row(
        "the client's agent",
        0,
        All,
        r#"eval "$(ssh-agent -s)" > /dev/null; trap 'ssh-agent -k > /dev/null' EXIT
        ssh-keygen -q -t ed25519 -N '' -C mine -f key; ssh-add -q key
        ssh -A -o IdentityAgent=$SSH_AUTH_SOCK $HOST 'ssh-add -l | cut -d" " -f3-; stat -c %a "$(dirname $SSH_AUTH_SOCK)"'
        ssh $HOST 'echo ${SSH_AUTH_SOCK-none}'"#,
    ),
    row("a consumer that stopped holds its own channel only", 0, All, "python3 $CLIENTS/flood.py"),
];

/// Files, by all that moves them.
pub(super) const FILES: &[Row] = &[
    row(
        "scp, both protocols, trees, modes and times",
        0,
        All,
        r#"mkdir -p tree/sub remote; head -c 3000000 /dev/urandom > tree/sub/leaf; chmod 640 tree/sub/leaf; touch -d 2001-02-03 tree/sub/leaf tree/sub tree
        for protocol in s O; do
            scp -$protocol -rpq tree $HOST:$DIR/remote/$protocol && scp -$protocol -rpq $HOST:$DIR/remote/$protocol back$protocol && diff -r tree back$protocol
            stat -c '%a %Y %s' remote/$protocol/sub/leaf back$protocol/sub/leaf
        done"#,
    ),
    row("scp of what is not there", 1, All, "scp -q $HOST:$DIR/nothing ."),
    row("scp to where it may not", 1, All, "touch file; scp -q file $HOST:/proc/nothing"),
    row(
        "sftp in a batch",
        0,
        All,
        r#"mkdir r; head -c 2000000 /dev/urandom > a; chmod 600 a; touch -d 2001-02-03 a
        cat > batch <<END
        cd $DIR/r
        pwd
        put -p a one
        put a two
        rename one two
        ln two hard
        ln -s two soft
        chmod 640 two
        chmod -h 600 hard
        -chmod -h 600 soft
        mkdir d
        -mkdir d
        -rmdir nothing
        -rm nothing
        -get nothing
        -rename nothing other
        -rename -l two hard
        ls -1
        get -p two back
        cp two copy
        rm soft
        rmdir d
        ls -n two
END
        sftp -q -b batch $HOST 2>&1; cmp back a && stat -c '%a %h %Y %s' r/two back; cmp r/copy a"#,
    ),
    row("sftp tells the space", 0, Code, "echo df -h $DIR | sftp -q -b - $HOST | grep Avail"),
    row(
        "rsync there and back",
        0,
        All,
        r#"mkdir -p t/x; head -c 4000000 /dev/urandom > t/big; seq 1000 > t/x/small; ln -s x/small t/link; chmod 751 t/x
        rsync -aH --checksum t/ $HOST:$DIR/there/ && rsync -az $HOST:$DIR/there/ back/ && diff -r t back && stat -c %a back/x
        rm t/link t/x/small; echo more >> t/big; rsync -a --delete --stats t/ $HOST:$DIR/there/ | grep -E 'deleted|transferred:'; diff -r t there
        rsync -a $HOST:$DIR/nothing . 2> /dev/null || echo failed $?"#,
    ),
    row(
        "git clone, push and fetch",
        0,
        Output,
        r#"export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q --bare bare; git clone -q $HOST:$DIR/bare work; cd work; head -c 1000000 /dev/urandom > f; git add f; git commit -qm one; git push -q origin HEAD:main
        cd ..; git clone -q -b main $HOST:$DIR/bare again; cmp again/f work/f && git -C again fetch -q && git -C again log --format=%s
        git ls-remote $HOST:$DIR/nothing > /dev/null 2>&1 || echo no repository"#,
    ),
    row(
        "a mount by sshfs, with an editor's way to save",
        0,
        Output,
        r#"mkdir remote mnt; echo old > remote/file; sshfs $HOST:$DIR/remote mnt -o cache=no || exit 1
        trap 'fusermount3 -u mnt' EXIT; cat mnt/file; echo new > mnt/tmp; sync mnt/tmp; mv mnt/tmp mnt/file; cat remote/file; ln mnt/file mnt/hard; stat -c %h remote/hard
        chmod 600 mnt/file; truncate -s 2 mnt/hard; touch -d 2001-02-03 mnt/file; mkdir mnt/d; ln -s file mnt/l; rm mnt/hard; rmdir mnt/d; stat -c '%a %Y %s' remote/file; readlink remote/l; ls mnt
        head -c 5000000 /dev/urandom > big; cp big mnt/big; cmp big remote/big; cmp big mnt/big && stat -f -c %T mnt; cat mnt/nothing || echo nothing there"#,
    ),
];

/// Editors and IDEs.
pub(super) const EDITORS: &[Row] = &[
    row("VS Code: a script on stdin, a server that stays, many channels", 0, All, "python3 $CLIENTS/vscode.py"),
    row("JetBrains: an upload, its start, a forward of localhost:0", 0, All, "python3 $CLIENTS/jetbrains.py"),
    row(
        "Zed: its own master, ten sessions that stay",
        0,
        All,
        r#"ssh -N -o ControlMaster=yes -o ControlPath=control $HOST & master=$!; while ! test -S control; do sleep 0.1; done
        mkdir app up; echo 'while read line; do echo "answer to $line"; done; exit 3' > app/server; SSH="-o ControlMaster=no -o ControlPath=control"
        echo "put -r app $DIR/up" > batch; sftp -q $SSH -b batch $HOST > /dev/null
        for i in $(seq 10); do (echo $i; sleep 1; echo again $i) | ssh $SSH $HOST "cd '$DIR/up/app' && env RUST_LOG=info bash server" > out.$i & pids="$pids $!"; done
        for pid in $pids; do wait $pid; echo $?; done; cat out.*; ssh $SSH -O exit $HOST 2> /dev/null; wait $master || true"#,
    ),
    row("TRAMP: files, processes, shells", 0, Output, "emacs --batch -Q -l $CLIENTS/tramp.el 2> log || { cat log; exit 1; }"),
    row(
        "netrw: a file read and saved by scp",
        0,
        Output,
        r#"echo 'one two' > file; nvim --headless -u NONE -i NONE --cmd 'set nocompatible noswapfile' -c 'runtime! plugin/netrwPlugin.vim' \
            -c 'let g:netrw_silent=1' -c "edit scp://$HOST/$DIR/file" -c '%s/two/three/' -c write -c 'qall!' > log 2>&1; cat file; grep -c three file"#,
    ),
];

/// Libraries, and what is built on one.
pub(super) const LIBRARIES: &[Row] = &[
    row("paramiko", 0, All, "python3 $CLIENTS/paramiko_client.py"),
    row("asyncssh", 0, Output, "python3 $CLIENTS/asyncssh_client.py"),
    row(
        "Ansible: modules, files, a failing command",
        0,
        Output,
        r#"export ANSIBLE_LOCAL_TEMP=$DIR/tmp ANSIBLE_HOME=$DIR/home ANSIBLE_NOCOLOR=1 ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 ANSIBLE_REMOTE_TEMP=$DIR/there
        export ANSIBLE_SSH_CONTROL_PATH_DIR=$(mktemp -d); trap "rm -rf $ANSIBLE_SSH_CONTROL_PATH_DIR" EXIT
        head -c 500000 /dev/urandom > file
        ansible all -i $HOST, -m ping
        export ANSIBLE_PIPELINING=True
        ansible all -i $HOST, -m copy -a "src=file dest=$DIR/copy mode=0640" | grep -E 'changed|mode'; cmp file copy
        ansible all -i $HOST, -m shell -a 'echo out; echo err >&2; exit 3' || echo failed $?"#,
    ),
];
