//! Leaves no process behind, however the tests end: a shell that is told of every process, and kills what is left when
//! the pipe to it breaks, because everything that ends normally is reaped by its owner before.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use parking_lot::Mutex;

/// Has this process killed if nobody else has reaped it in time.
pub(crate) fn watch(pid: u32) {
    tell('+', pid);
}

/// It has been reaped: its number may soon be another's.
pub(crate) fn forget(pid: u32) {
    tell('-', pid);
}

fn tell(sign: char, pid: u32) {
    static WARDEN: OnceLock<(Mutex<ChildStdin>, Child)> = OnceLock::new();
    let (pipe, _) = WARDEN.get_or_init(|| {
        // In a group of its own, so that Ctrl-C does not reach it.
        let mut warden = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        let pipe = warden.stdin.take().expect("stdin is piped");
        (Mutex::new(pipe), warden)
    });
    writeln!(pipe.lock(), "{sign} {pid}").expect("the warden listens");
}

const SCRIPT: &str = r#"
left=" "
while read -r sign pid; do
    case $sign in
        +) left="$left$pid " ;;
        -) left="${left%% $pid *} ${left#* $pid }" ;;
    esac
done
for pid in $left; do kill -9 "$pid"; done
"#;

#[test]
fn what_was_forgotten_is_left_alone_and_the_rest_killed() {
    let sleeper = || {
        Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep starts")
    };
    let (mut left, mut forgotten, mut other) = (sleeper(), sleeper(), sleeper());
    let mut warden = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh starts");
    let mut pipe = warden.stdin.take().expect("stdin is piped");
    let (one, two, three) = (left.id(), forgotten.id(), other.id());
    writeln!(pipe, "+ {one}\n+ {two}\n+ {three}\n- {two}").expect("it listens");
    drop(pipe);
    warden.wait().expect("it ends");
    assert!(!left.wait().expect("it was killed").success());
    assert!(!other.wait().expect("it was killed").success());
    assert!(forgotten.try_wait().expect("it can be asked").is_none());
    forgotten.kill().expect("it can be killed");
    forgotten.wait().expect("it ends");
}
