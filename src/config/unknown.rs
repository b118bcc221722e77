//! Variables that look like settings of this service and are none: most often a slip of the pen (2.1).
//!
//! Only names are looked at here, never values.

use super::vars;

/// One warning for each unknown name with one of our prefixes, with the name that was probably meant.
pub(super) fn warnings<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let known: Vec<String> = vars::all()
        .flat_map(|var| [Some(var.name.to_owned()), var.file_name()])
        .flatten()
        .collect();
    names
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| !known.iter().any(|known| known == name) && !is_of_platform(name))
        .filter_map(|name| {
            let nearest = known
                .iter()
                .max_by(|one, two| likeness(name, one).total_cmp(&likeness(name, two)))?;
            let name: String = name.escape_default().take(100).collect();
            Some(format!(
                "{name} is no setting of this service; the nearest is {nearest}"
            ))
        })
        .collect()
}

fn likeness(one: &str, two: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(one, two)
}

/// systemd sets `JOURNAL_STREAM`; Kubernetes and Docker describe a service called `redis` in variables that begin alike.
fn is_of_platform(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("REDIS_") else {
        return name == "JOURNAL_STREAM";
    };
    rest == "PORT"
        || rest.starts_with("PORT_")
        || ["SERVICE_HOST", "SERVICE_PORT"]
            .iter()
            .any(|link| rest.contains(link))
}

const PREFIXES: [&str; 8] = [
    "JWT_", "EXOTEL_", "AUDIO_", "JOURNAL_", "REDIS_", "PUBSUB_", "PUBLISH_", "MAX_",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest() {
        for (name, nearest) in [
            ("JOURNAL_DRI", "JOURNAL_DIR"),
            ("AUDIO_STREAM_MAX_LEN", "AUDIO_STREAM_MAXLEN"),
            ("EXOTEL_URL_TOKEN", "EXOTEL_URL_TOKENS"),
            ("JWT_PUBLIC_KEY_PATH", "JWT_PUBLIC_KEY_FILE"),
            ("JOURNAL_DIR_FILE", "JOURNAL_DIR"),
            ("REDIS_URI", "REDIS_URL"),
        ] {
            assert_eq!(
                warnings([name].into_iter()),
                [format!(
                    "{name} is no setting of this service; the nearest is {nearest}"
                )]
            );
        }
    }

    #[test]
    fn is_silent_about_ours_and_other_peoples() {
        let names = [
            "REDIS_URL",
            "REDIS_URL_FILE",
            "JWT_PUBLIC_KEY_FILE",
            "PATH",
            "MAXIMUM",
            "JOURNAL_STREAM",
            "REDIS_PORT",
            "REDIS_PORT_6379_TCP_ADDR",
            "REDIS_MASTER_SERVICE_HOST",
            "SUPORT_EXOTEL",
        ];
        assert_eq!(warnings(names.into_iter()), Vec::<String>::new());
    }
}
