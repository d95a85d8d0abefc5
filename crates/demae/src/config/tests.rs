use super::*;

fn variables(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        variables: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Sources::default()
    }
}

fn file(text: &str) -> Sources {
    Sources {
        file: Some(("/etc/demae.toml".into(), text.to_owned())),
        ..Sources::default()
    }
}

/// Setting, origin, and a part of problem and remedy.
fn faults(sources: &Sources) -> Vec<(String, String, String)> {
    let Err(Faults(faults)) = Settings::load(sources, Mode::Serve) else {
        return Vec::new();
    };
    faults
        .into_iter()
        .map(|fault| {
            (
                fault.setting,
                fault.origin,
                format!("{}; {}", fault.problem, fault.remedy),
            )
        })
        .collect()
}

#[test]
fn the_default_file_is_usable_and_holds_the_fixed_defaults() {
    let settings = Settings::load(&Sources::default(), Mode::Serve).unwrap();
    assert_eq!(settings.database.url.expose(), "sqlite:./demae-data/demae.db");
    assert_eq!(settings.sqlite_file(), Some("./demae-data/demae.db".into()));
    assert_eq!(
        settings.listen,
        [
            "127.0.0.1:6060".parse().unwrap(),
            "127.0.0.1:6000".parse().unwrap()
        ]
    );
    assert_eq!(
        settings
            .delivery
            .retry_schedule
            .iter()
            .map(Duration::as_secs)
            .collect::<Vec<_>>(),
        [5, 300, 1800, 7200, 28800]
    );
    assert!(settings.delivery.allowed_networks.is_empty());
    let dev = Settings::load(&Sources::default(), Mode::Dev).unwrap();
    assert!(
        dev.delivery
            .allowed_networks
            .iter()
            .any(|net| net.contains(&std::net::Ipv4Addr::LOCALHOST.into_ip()))
    );
}

trait IntoIp {
    fn into_ip(self) -> std::net::IpAddr;
}

impl IntoIp for std::net::Ipv4Addr {
    fn into_ip(self) -> std::net::IpAddr {
        self.into()
    }
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_told_with_the_remedy() {
    let found = faults(&variables(&[("DEMAE_EXTRA_CA_FILE", "/nowhere/ca.pem")]));
    let [(setting, _, text)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(setting, "extra_ca_file");
    assert!(
        text.contains("/nowhere/ca.pem cannot be read") && text.contains("name a PEM file"),
        "{text}"
    );
}

#[test]
fn a_flag_beats_a_variable_beats_the_file() {
    let mut sources = file("listen = [\"127.0.0.1:1\"]\nlog = \"warn\"\nconcurrency = 100\n");
    sources.variables = vec![
        ("DEMAE_LISTEN".to_owned(), "127.0.0.1:2, 127.0.0.1:3".to_owned()),
        ("DEMAE_LOG".to_owned(), "debug".to_owned()),
    ];
    sources.flags = vec![(
        "--listen".to_owned(),
        "listen".to_owned(),
        "127.0.0.1:4".to_owned(),
    )];
    let settings = Settings::load(&sources, Mode::Serve).unwrap();
    assert_eq!(settings.listen, ["127.0.0.1:4".parse().unwrap()]);
    assert_eq!(settings.log.filter, "debug");
    assert_eq!(settings.delivery.concurrency, 100);
}

#[test]
fn the_standard_name_of_the_collector_is_read_and_ours_wins() {
    let standard = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let endpoint = |sources: &Sources| {
        Settings::load(sources, Mode::Serve)
            .unwrap()
            .otlp_endpoint
            .unwrap()
            .to_string()
    };
    assert_eq!(endpoint(&variables(&[standard])), "http://127.0.0.1:4318/");
    assert_eq!(
        endpoint(&variables(&[("DEMAE_OTLP_ENDPOINT", "http://c:1"), standard])),
        "http://c:1/"
    );
}

#[test]
fn all_faults_are_told_at_once_with_name_origin_and_remedy() {
    let mut sources = file(
        "lissten = [\"127.0.0.1:1\"]\nlease = \"20s\"\nretention_attempts = \"soon\"\nlog_format = \"xml\"\n",
    );
    sources.variables = vec![
        ("DEMAE_LISTEN".to_owned(), "6000".to_owned()),
        ("DEMAE_BROKER_URL".to_owned(), "http://x".to_owned()),
        ("DEMAE_DATABASE_URLL".to_owned(), "x".to_owned()),
        ("DEMAE_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
        ("DEMAE_TOKEN".to_owned(), "ksh_x".to_owned()),
    ];
    sources.flags = vec![("--set".to_owned(), "concurrency".to_owned(), "many".to_owned())];
    let found = faults(&sources);
    let expected = [
        (
            "lissten",
            "/etc/demae.toml",
            "no such setting; did you mean listen?",
        ),
        (
            "database_urll",
            "variable DEMAE_DATABASE_URLL",
            "no such setting; did you mean database_url?",
        ),
        ("listen", "variable DEMAE_LISTEN", "\"6000\" is not an address"),
        ("broker_url", "variable DEMAE_BROKER_URL", "write amqp://"),
        ("lease", "/etc/demae.toml", "set it to at least 60s"),
        ("concurrency", "flag --set", "write a number from 1 to 100000"),
        (
            "retention_attempts",
            "/etc/demae.toml",
            "\"soon\" is not a duration",
        ),
        ("log_format", "/etc/demae.toml", "write text or json"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((setting, origin, text), (want_setting, want_origin, want_text)) in found.iter().zip(expected) {
        assert_eq!((setting.as_str(), origin.as_str()), (want_setting, want_origin));
        assert!(text.contains(want_text), "{text:?} lacks {want_text:?}");
    }
}

/// A key that nothing replaces: `secret_key` is not set.
const PREVIOUS: &str = "0123456789abcdef0123456789abcdef";

/// Needs a `broker_key`.
const ORGANIZATION: &str = "0199e1a0-7f3c-7a51-9d0e-4b1f6c2d8e90";

#[test]
fn relations_between_settings_are_checked() {
    let cases = [
        (("DEMAE_RETENTION_MESSAGES", "1d"), "retention_messages"),
        (("DEMAE_LISTEN", ""), "listen"),
        (
            (
                "DEMAE_RETRY_SCHEDULE",
                "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
            ),
            "retry_schedule",
        ),
        (("DEMAE_LEASE", "59s"), "lease"),
        (("DEMAE_PREVIOUS_SECRET_KEYS", PREVIOUS), "previous_secret_keys"),
        (("DEMAE_DELIVERY_MODE", "external"), "delivery_mode"),
        (("DEMAE_DAPR_APP_TOKEN", "too short"), "dapr_app_token"),
        (("DEMAE_BROKER_KEY", "too short"), "broker_key"),
        (("DEMAE_BROKER_ORGANIZATION", ORGANIZATION), "broker_organization"),
    ];
    for (variable, setting) in cases {
        let found = faults(&variables(&[variable]));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].0, setting);
    }
}

#[test]
fn delivery_by_svix_needs_its_address_and_its_token() {
    let mode = ("DEMAE_DELIVERY_MODE", "svix");
    let (url, token) = (
        ("DEMAE_SVIX_URL", "https://svix.example.com"),
        ("DEMAE_SVIX_TOKEN", "hunter2"),
    );
    let missing = |pairs: &[(&str, &str)]| -> Vec<String> {
        faults(&variables(pairs))
            .into_iter()
            .map(|fault| fault.0)
            .collect()
    };
    assert_eq!(missing(&[mode]), ["svix_url", "svix_token"]);
    assert_eq!(missing(&[mode, url]), ["svix_token"]);
    // Kept for later, but not used.
    let off = Settings::load(&variables(&[url, token]), Mode::Serve).unwrap();
    assert!(off.svix.is_none());
    let on = Settings::load(&variables(&[mode, url, token]), Mode::Serve).unwrap();
    assert_eq!(on.svix.as_ref().unwrap().token.expose(), "hunter2");
    assert!(!format!("{on:?}").contains("hunter2"));
}

#[test]
fn secrets_are_neither_printed_nor_repeated_in_faults() {
    let secret = "postgres://demae:hunter2hunter2@db.example.com:5433/main";
    let settings = Settings::load(&variables(&[("DEMAE_DATABASE_URL", secret)]), Mode::Serve).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert_eq!(settings.database_label(), "postgres://db.example.com:5433/main");
    for variable in [
        "DEMAE_DATABASE_URL",
        "DEMAE_SECRET_KEY",
        "DEMAE_BOOTSTRAP_TOKEN",
        "DEMAE_JWT_SECRET",
        "DEMAE_BROKER_URL",
        "DEMAE_BROKER_KEY",
        "DEMAE_DAPR_APP_TOKEN",
    ] {
        let error = Settings::load(&variables(&[(variable, "hunter2")]), Mode::Serve)
            .unwrap_err()
            .to_string();
        assert!(error.contains(variable) && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_broken_file_is_one_fault_and_the_rest_is_still_checked() {
    let mut sources = file("listen = [");
    sources.variables = vec![("DEMAE_METRICS".to_owned(), "perhaps".to_owned())];
    let found = faults(&sources);
    assert_eq!(
        found.iter().map(|fault| fault.0.as_str()).collect::<Vec<_>>(),
        ["(all)", "metrics"]
    );
}

#[test]
fn every_setting_of_the_default_file_is_read() {
    for line in DEFAULT_FILE.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        if ["data_dir", "database_url"].contains(&name) {
            continue;
        }
        // A table is no value of any setting, so it must be a fault of the one it stands for.
        let found = faults(&file(&format!("{name} = {{ a = 1 }}\n")));
        assert!(found.iter().any(|fault| fault.0 == name), "nothing reads {name}");
    }
}
