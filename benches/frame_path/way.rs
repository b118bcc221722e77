//! The whole way of frames: fifty Exotel calls, each on a connection of its own, to the confirmation by Redis.
//!
//! What is not in it, because it differs from run to run: the kernel's part of the callers' sockets, the timer with
//! which a lane gathers, and everything that comes by the clock, which stands still. All calls bring a frame, the lane
//! sends these as one transaction, Redis confirms it; only then come the next.

use std::{net::TcpListener, num::NonZeroU64, sync::Arc, time::Duration};

use rtaa_ingest::{
    call::CallName,
    calls::{Calls, live_call::LiveCall},
    clock,
    connection::{self, Shared, counts::Counts},
    frame::Sender,
    handshakes::Handshakes,
    intake::Facts,
    journal,
    publisher::{Destination, Left, Publisher, RedisSettings, Settings, Topology, Trim},
    record::frame::FrameFormat,
    secret::Secret,
    shutdown::Shutdown,
    websocket::WebSocket,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    messages::{self, Sound},
    script,
    tape::{Player, Tape},
};

/// Calls that have begun, and the service's parts behind them, warm.
pub(crate) struct Stage {
    player: Arc<Player>,
    calls: Vec<Arc<LiveCall>>,
    frames: u64,
    _owners: JoinSet<Left>,
    _connections: JoinSet<()>,
    _journal: tempfile::TempDir,
    /// Last, because it waits for the scripted Redis, which ends when nobody is connected to it.
    runtime: Option<Runtime>,
}

impl Stage {
    /// A stage on which each call has so many frames still to come.
    pub(crate) fn new(frames: usize) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut stage = runtime.block_on(Self::set(frames));
        stage.runtime = Some(runtime);
        stage
    }

    async fn set(frames: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        // As long as a blocking task lives, time that stands still is not wound on either.
        tokio::task::spawn_blocking(move || script::serve(&listener, CONNECTIONS_TO_REDIS));
        let journal = tempfile::tempdir().expect("a directory");
        let mut owners = JoinSet::new();
        let settings = journal::Settings {
            dir: journal.path().to_owned(),
            max_bytes: 1 << 30,
        };
        let redis = settings_of(&format!("redis://{address}"));
        let publisher = Publisher::start(&redis, &settings, &mut owners, &CancellationToken::new())
            .expect("a publisher");
        let shared = Arc::new(Shared {
            calls: Calls::new(publisher, ACK_INTERVAL.get()),
            handshakes: Handshakes::default(),
            settings: connection::Settings {
                ack_interval: ACK_INTERVAL,
                max_message_bytes: 1 << 20,
                max_rate_factor: 0.0,
                idle_timeout: Duration::from_mins(1),
                max_call: Duration::from_hours(4),
            },
            shutdown: Shutdown::default(),
            counts: Counts::default(),
        });
        let player = Arc::new(Player::default());
        let mut connections = JoinSet::new();
        let mut sound = Sound::new();
        for call in 0..CALLS {
            let media = (1..=WARM_UP + frames)
                .map(|number| messages::exotel_media(call, number, &sound.bytes(320)));
            let said = std::iter::once(messages::exotel_start(call)).chain(media);
            let said = said.map(|text| messages::masked(&text));
            let socket = WebSocket::new(Tape::new(said, Arc::clone(&player)), &[], 1 << 20);
            let facts = Facts::new(Sender::Exotel, "tenant", &format!("connection-{call}"));
            connections.spawn(connection::run(socket, facts, Arc::clone(&shared)));
        }
        while !shared.calls.publisher().health().up {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::pause();
        player.play_on();
        while shared.calls.len() < CALLS {
            tokio::task::yield_now().await;
        }
        let name = |call| CallName {
            tenant_id: "someacct1".to_owned(),
            interaction_id: messages::call_sid(call),
        };
        let open = |call| shared.calls.open(&name(call), Sender::Exotel, clock::now());
        let mut stage = Self {
            player,
            calls: (0..CALLS)
                .filter_map(|call| Some(open(call)?.call))
                .collect(),
            frames: 0,
            _owners: owners,
            _connections: connections,
            _journal: journal,
            runtime: None,
        };
        assert_eq!(stage.calls.len(), CALLS);
        stage.play(WARM_UP - 1).await;
        // It is due again in four seconds by the wall clock, and these are enough for all that follows.
        stage
            .calls
            .iter()
            .for_each(|call| call.announce(clock::now()));
        stage.play(1).await;
        stage
    }

    /// So many frames of every call, one after another.
    pub(crate) fn run(mut self, frames: usize) -> Self {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(self.play(frames));
            self.runtime = Some(runtime);
        }
        self
    }

    async fn play(&mut self, frames: usize) {
        let last = self.calls.last().expect("calls");
        let progress = last.progress();
        let mut told = progress.subscribe();
        for _ in 0..frames {
            self.frames += 1;
            self.player.play_on();
            while !progress.is_durable(self.frames) {
                told.changed().await.expect("a call that lives");
            }
        }
    }
}

fn settings_of(url: &str) -> Settings {
    Settings {
        destination: Destination::Redis(RedisSettings {
            urls: vec![Secret::new(url.to_owned())],
            topology: Topology::Standalone,
            tls_ca: None,
            tls_client: None,
        }),
        stream: "audio_stream".to_owned(),
        shards: 1,
        trim: Trim::Age(Duration::from_mins(15)),
        consumer_groups: Vec::new(),
        gather: Duration::ZERO,
        format: FrameFormat::Json,
    }
}

pub(crate) const CALLS: usize = 50;
const WARM_UP: usize = 20;
/// The lane's and that of its watch over consumer groups.
const CONNECTIONS_TO_REDIS: usize = 2;
const ACK_INTERVAL: NonZeroU64 = NonZeroU64::new(50).expect("not zero");
