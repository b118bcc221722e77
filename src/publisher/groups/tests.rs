//! The watch against a Redis that says what a test wants: that a backlog is let go on by what the groups have read.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use super::*;
use crate::publisher::reply::EntryId;

/// The newest entry of a stream, and the last that its one group was given; `None`: the user may not ask.
type State = Arc<Mutex<Option<(u64, u64)>>>;

async fn serve(listener: TcpListener, state: State) {
    let mut connections = JoinSet::new();
    while let Ok((mut socket, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let mut heard = vec![0; 4096];
            while let Ok(1..) = socket.read(&mut heard).await {
                let said = String::from_utf8_lossy(&heard).to_uppercase();
                let reply = reply_to(&said, *state.lock());
                if socket.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
                heard.fill(0);
            }
        });
    }
}

fn reply_to(said: &str, state: Option<(u64, u64)>) -> String {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let entry = |id: &str| format!("*2\r\n{}*0\r\n", bulk(id));
    match state {
        Some((last, _)) if said.contains("\r\nSTREAM\r\n") => format!(
            "*8\r\n{}:9999\r\n{}{}{}{}{}{}",
            bulk("length"),
            bulk("last-generated-id"),
            bulk(&format!("{last}-0")),
            bulk("first-entry"),
            entry("1-0"),
            bulk("last-entry"),
            entry(&format!("{last}-0")),
        ),
        Some((_, delivered)) if said.contains("\r\nGROUPS\r\n") => format!(
            "*1\r\n*4\r\n{}{}{}{}",
            bulk("name"),
            bulk("asr"),
            bulk("last-delivered-id"),
            bulk(&format!("{delivered}-0")),
        ),
        None if said.contains("\r\nXINFO\r\n") => "-NOPERM not you\r\n".to_owned(),
        _ => "+OK\r\n".to_owned(),
    }
}

async fn watched(state: Option<(u64, u64)>) -> (Arc<Watch>, State, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = Dial::to(&listener, "audio_stream");
    let trim = Trim::Age(Duration::from_mins(2));
    let (watch, task) = Watch::new(dial, "audio_stream", trim, &[]);
    let state = Arc::new(Mutex::new(state));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, Arc::clone(&state)));
    tasks.spawn(task.run(std::future::pending()));
    (watch, state, tasks)
}

async fn more(throttle: &Throttle) -> u64 {
    let more = async {
        while throttle.allowance() == 0 {
            throttle.changed().await;
        }
        throttle.allowance()
    };
    timeout(Duration::from_secs(10), more).await.unwrap()
}

#[tokio::test]
async fn a_backlog_goes_on_when_the_group_has_read() {
    let (watch, state, _tasks) = watched(Some((100, 100))).await;
    let throttle = watch.throttle();
    assert_eq!(throttle.allowance(), 0);
    throttle.begin();
    for end in [200, 300] {
        let chunk = more(throttle).await;
        *state.lock() = Some((end, 100));
        throttle.published(chunk, EntryId { ms: end, seq: 0 });
    }
    let before = throttle.allowance();
    *state.lock() = Some((300, 150));
    let waited = timeout(Duration::from_millis(500), throttle.changed()).await;
    assert!(before == 0 && (waited.is_err() || throttle.allowance() == 0));
    *state.lock() = Some((300, 200));
    assert!(more(throttle).await > 0);
}

#[tokio::test]
async fn a_redis_that_does_not_show_its_groups_holds_nothing_back() {
    let (watch, _state, _tasks) = watched(None).await;
    watch.throttle().begin();
    assert_eq!(more(watch.throttle()).await, u64::MAX);
    let problems = watch.problems();
    assert!(problems[0].contains("NOPERM"), "{problems:?}");
}
