//! How frames are published: to Redis in one of its shapes or to the embedded journal, under which key, kept how long.
//!
//! URLs one by one are read in `urls.rs`. Invariant: what was set for Redis is checked whether or not frames go
//! there, and a half-configured Redis is an error, never silently the journal.

use std::time::Duration;

use super::{
    forms,
    reader::{Noted, Reader},
    sections,
    urls::{self, RedisUrl, Scheme},
    vars,
};
use crate::{
    publisher::{self, Destination, RedisSettings, Topology, Trim},
    record::frame::FrameFormat,
};

pub(super) fn publisher(reader: &mut Reader) -> Result<publisher::Settings, Noted> {
    let destination = destination(reader);
    let stream = reader.required("AUDIO_STREAM", forms::stream_key);
    let shards = reader.whole("AUDIO_STREAM_SHARDS");
    if let (Ok(stream), Ok(2u16..)) = (&stream, shards)
        && stream.contains(['{', '}'])
    {
        // Redis Cluster places a key by the first braces in it: all shards would be in one place.
        reader.reject(
            "AUDIO_STREAM",
            "has braces while AUDIO_STREAM_SHARDS is above 1".into(),
        );
    }
    let trim = trim(reader);
    let consumer_groups = reader.optional("AUDIO_CONSUMER_GROUPS", forms::names);
    let gather = reader.whole("PUBLISH_GATHER_US").map(Duration::from_micros);
    let format = reader.word("FRAME_FORMAT").map(|word| match word {
        Some("fields") => FrameFormat::Fields,
        _ => FrameFormat::Json,
    });
    Ok(publisher::Settings {
        destination: destination?,
        stream: stream?,
        shards: shards?,
        trim: trim?,
        consumer_groups: consumer_groups?.unwrap_or_default(),
        gather: gather?,
        format: format?,
    })
}

fn trim(reader: &mut Reader) -> Result<Trim, Noted> {
    let age = reader.time("AUDIO_STREAM_RETENTION_S");
    let accepts = vars::find("AUDIO_STREAM_MAXLEN").ok_or(Noted)?.accepts;
    let length = reader.optional("AUDIO_STREAM_MAXLEN", |text| accepts.whole(text))?;
    let Some(length) = length else {
        return age.map(Trim::Age);
    };
    if reader.is_given("AUDIO_STREAM_RETENTION_S") {
        return Err(reader.conflict(
            "AUDIO_STREAM_MAXLEN",
            "AUDIO_STREAM_RETENTION_S is set too",
            "only one of the two",
        ));
    }
    reader.settle("AUDIO_STREAM_RETENTION_S", None);
    Ok(if length == 0 {
        Trim::Never
    } else {
        Trim::Length(length)
    })
}

fn destination(reader: &mut Reader) -> Result<Destination, Noted> {
    let adapter = reader.word("PUBSUB_ADAPTER");
    let redis = redis(reader);
    match (adapter?, redis?) {
        (Some("journal"), _) => Ok(Destination::Journal { meant: true }),
        (_, Some(settings)) => {
            reader.settle("PUBSUB_ADAPTER", Some("redis_streams"));
            Ok(Destination::Redis(settings))
        }
        (None, None) => {
            reader.settle("PUBSUB_ADAPTER", Some("journal"));
            Ok(Destination::Journal { meant: false })
        }
        (Some(_), None) => Err(reader.conflict(
            "PUBSUB_ADAPTER",
            "REDIS_URL is not set",
            "redis_streams together with REDIS_URL, or journal",
        )),
    }
}

fn redis(reader: &mut Reader) -> Result<Option<RedisSettings>, Noted> {
    let urls = reader.optional("REDIS_URL", urls::redis);
    let tls_ca = reader.optional("REDIS_TLS_CA", forms::path);
    let tls_client = sections::files(reader, "REDIS_TLS_CERT", "REDIS_TLS_KEY");
    let topology = topology(reader);
    if let Ok(Some(urls)) = &urls
        && urls.iter().any(|url| url.scheme == Scheme::Tls)
    {
        reader.documents.redis_ca = tls_ca.clone().ok().flatten();
        reader.documents.redis_tls = tls_client.clone().ok().flatten();
    }
    let (urls, tls_ca, tls_client, topology) = (urls?, tls_ca?, tls_client?, topology?);
    let Some(urls) = urls else {
        return match setting_of(&topology) {
            None => Ok(None),
            Some(name) => {
                Err(reader.conflict(name, "REDIS_URL is not set", "only together with REDIS_URL"))
            }
        };
    };
    fit(reader, &urls, &topology)?;
    if (tls_ca.is_some() || tls_client.is_some())
        && urls.iter().any(|url| url.scheme != Scheme::Tls)
    {
        reader.warn("REDIS_TLS_CA, REDIS_TLS_CERT and REDIS_TLS_KEY have no effect without rediss:// in REDIS_URL");
    }
    Ok(Some(RedisSettings {
        urls: urls.into_iter().map(|url| url.url).collect(),
        topology,
        tls_ca,
        tls_client,
    }))
}

fn topology(reader: &mut Reader) -> Result<Topology, Noted> {
    let cluster = reader.flag("REDIS_CLUSTER");
    let master = reader.optional("REDIS_SENTINEL_MASTER", forms::name);
    let password = reader.optional("REDIS_SENTINEL_PASSWORD", forms::password);
    match (cluster?, master?, password?) {
        (true, Some(_), _) => Err(reader.conflict(
            "REDIS_CLUSTER",
            "REDIS_SENTINEL_MASTER is set too",
            "only one of the two",
        )),
        (false, Some(master), password) => Ok(Topology::Sentinel { master, password }),
        (cluster, None, password) => {
            if password.is_some() {
                reader.warn("REDIS_SENTINEL_PASSWORD has no effect without REDIS_SENTINEL_MASTER");
            }
            Ok(if cluster {
                Topology::Cluster
            } else {
                Topology::Standalone
            })
        }
    }
}

/// A single server has one URL, and only a single server can be reached by a socket file.
fn fit(reader: &mut Reader, urls: &[RedisUrl], topology: &Topology) -> Result<(), Noted> {
    let accepted = "one URL, or several redis:// or rediss:// URLs with REDIS_CLUSTER or REDIS_SENTINEL_MASTER";
    match setting_of(topology) {
        None if urls.len() > 1 => {
            Err(reader.conflict("REDIS_URL", "several URLs for one server", accepted))
        }
        Some(name) if urls.iter().any(|url| url.scheme == Scheme::Unix) => Err(reader.conflict(
            "REDIS_URL",
            format!("unix:// together with {name}"),
            accepted,
        )),
        _ => Ok(()),
    }
}

/// The variable that asked for it.
fn setting_of(topology: &Topology) -> Option<&'static str> {
    match topology {
        Topology::Standalone => None,
        Topology::Cluster => Some("REDIS_CLUSTER"),
        Topology::Sentinel { .. } => Some("REDIS_SENTINEL_MASTER"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, error::ConfigErrors, tests::with};

    fn destination_of(pairs: &[(&str, &str)]) -> Result<Destination, ConfigErrors> {
        with(pairs).map(|config| config.publisher.destination)
    }

    #[test]
    fn redis_where_a_url_is_set_else_the_journal() {
        let url = ("REDIS_URL", "redis://h");
        assert!(matches!(
            destination_of(&[]),
            Ok(Destination::Journal { meant: false })
        ));
        assert!(matches!(
            destination_of(&[("PUBSUB_ADAPTER", "journal")]),
            Ok(Destination::Journal { meant: true })
        ));
        assert!(matches!(
            destination_of(&[url, ("PUBSUB_ADAPTER", "journal")]),
            Ok(Destination::Journal { meant: true })
        ));
        assert!(matches!(destination_of(&[url]), Ok(Destination::Redis(_))));
        assert!(matches!(
            destination_of(&[url, ("PUBSUB_ADAPTER", "redis_streams")]),
            Ok(Destination::Redis(_))
        ));
        let errors = destination_of(&[("PUBSUB_ADAPTER", "redis_streams")])
            .unwrap_err()
            .to_string();
        assert!(
            errors.contains("PUBSUB_ADAPTER=\"redis_streams\": REDIS_URL is not set; accepted: "),
            "{errors}"
        );
        assert!(destination_of(&[("PUBSUB_ADAPTER", "kafka")]).is_err());
    }

    #[test]
    fn the_adapter_that_holds_is_shown() {
        let shown = |config: Config| {
            config
                .lines()
                .find(|line| line.starts_with("PUBSUB_ADAPTER="))
                .unwrap()
        };
        assert_eq!(
            shown(with(&[]).unwrap()),
            "PUBSUB_ADAPTER=journal # default"
        );
        let redis = with(&[("REDIS_URL", "redis://h")]).unwrap();
        assert_eq!(shown(redis), "PUBSUB_ADAPTER=redis_streams # default");
    }

    #[test]
    fn clusters_and_sentinels() {
        let urls = ("REDIS_URL", "redis://a,redis://b");
        let cluster = ("REDIS_CLUSTER", "yes");
        let master = ("REDIS_SENTINEL_MASTER", "mymaster");
        let password = ("REDIS_SENTINEL_PASSWORD", "hunter2");
        let Ok(Destination::Redis(settings)) = destination_of(&[urls, cluster]) else {
            panic!("a cluster was asked for");
        };
        assert!(settings.urls.len() == 2 && matches!(settings.topology, Topology::Cluster));
        let Ok(Destination::Redis(settings)) = destination_of(&[urls, master, password]) else {
            panic!("a sentinel was asked for");
        };
        assert!(matches!(
            settings.topology,
            Topology::Sentinel { master, password: Some(password) } if master == "mymaster" && password.matches(b"hunter2")
        ));
        for bad in [
            &[urls][..],
            &[urls, cluster, master],
            &[cluster],
            &[master],
            &[("REDIS_URL", "unix:///a"), cluster],
            &[("REDIS_URL", "unix:///a"), master],
            &[("REDIS_URL", "redis://a"), ("REDIS_TLS_CERT", "c.pem")],
            &[("REDIS_URL", "redis://a"), ("REDIS_TLS_KEY", "k.pem")],
        ] {
            assert_eq!(
                destination_of(bad).unwrap_err().problems.len(),
                1,
                "{bad:?}"
            );
        }
        assert!(destination_of(&[("REDIS_CLUSTER", "false")]).is_ok());
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let config = with(&[
            ("REDIS_URL", "redis://a"),
            ("REDIS_TLS_CA", "ca.pem"),
            ("REDIS_SENTINEL_PASSWORD", "hunter2"),
        ])
        .unwrap();
        assert_eq!(
            config
                .warnings
                .iter()
                .filter(|text| text.contains("no effect"))
                .count(),
            2
        );
    }

    #[test]
    fn what_bounds_the_stream() {
        let trim = |pairs: &[(&str, &str)]| with(pairs).map(|config| config.publisher.trim);
        assert_eq!(
            trim(&[("AUDIO_STREAM_RETENTION_S", "60")]).unwrap(),
            Trim::Age(Duration::from_mins(1))
        );
        assert_eq!(
            trim(&[("AUDIO_STREAM_MAXLEN", "9")]).unwrap(),
            Trim::Length(9)
        );
        assert_eq!(trim(&[("AUDIO_STREAM_MAXLEN", "0")]).unwrap(), Trim::Never);
        assert!(
            trim(&[
                ("AUDIO_STREAM_MAXLEN", "9"),
                ("AUDIO_STREAM_RETENTION_S", "120")
            ])
            .is_err()
        );
    }

    #[test]
    fn braces_and_shards_do_not_go_together() {
        let braces = ("AUDIO_STREAM", "{a}");
        assert!(with(&[braces]).is_ok() && with(&[braces, ("AUDIO_STREAM_SHARDS", "2")]).is_err());
    }
}
