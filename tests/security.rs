//! TLS, SASL and rights: records go through every kind of listener; where one refuses, `weir check` and the readiness of
//! `weir serve` say what to do; and no secret is ever shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use weir::train::preparation::Preparation;

use crate::support::kafka::{Kafka, Reader, Record, free_port, produce};
use crate::support::models::{promote, publish, year};
use crate::support::weir::{Setup, Weir, command};
use crate::support::{PATIENCE, eventually, rights};

/// Passwords that nothing else says.
const PLAIN_PASSWORD: &str = "correct-horse-42";
const SCRAM_PASSWORD: &str = "battery-staple-43";

/// The environment that gives weir a password.
const PASSWORD: &str = "WEIR__KAFKA__PROPERTIES__SASL_PASSWORD";

/// A broker with every kind of listener, and rules about who may do what.
struct Secured {
    _kafka: Kafka,
    folder: tempfile::TempDir,
    /// For the tests' own clients, who may do everything.
    plain: String,
    tls: String,
    /// TLS with client certificates.
    mutual: String,
    /// SASL over TLS, for the users `plain`, `scram` and `poor`.
    sasl: String,
}

#[test]
fn records_go_through_every_kind_of_listener() {
    let secured = secured();
    let file = secured.folder.path().join("scram-password");
    std::fs::write(&file, format!("{SCRAM_PASSWORD}\n")).unwrap();
    let password_file = format!("\"sasl.password\" = {{ file = {:?} }}", file.display());
    let kinds = [
        (&secured.tls, secured.tls_properties(), None),
        (&secured.mutual, secured.mutual_properties("client"), None),
        (&secured.sasl, secured.sasl_properties("PLAIN", "plain"), Some(PLAIN_PASSWORD)),
        (&secured.sasl, secured.sasl_properties("SCRAM-SHA-512", "scram"), Some(SCRAM_PASSWORD)),
        (&secured.sasl, format!("{}\n{password_file}", secured.sasl_properties("SCRAM-SHA-512", "scram")), None),
    ];
    let flights = year();
    for (brokers, properties, password) in kinds {
        let (setup, config) = secured.setup(brokers, &properties);
        let environment: Vec<_> = password.into_iter().map(|password| (PASSWORD, password)).collect();
        check_until(&config, &environment, 0, &[]);
        let weir = Weir::start_with(&config, &environment);
        weir.await_ready();
        produce(&secured.plain, &setup.input, flights[..20].iter().map(|flight| record(&flight.json)));
        Reader::new(&secured.plain, &setup.output).take(20);
        assert!(weir.stop().success());
    }
}

/// A connection that fails: what is wrong with it, the brokers, the properties, and what is to be done.
type WrongConnection = (&'static str, String, String, &'static str);

fn wrong_connections(secured: &Secured) -> [WrongConnection; 8] {
    let path = |name: &str| secured.path(name);
    let tls = secured.tls_properties();
    let sasl = |mechanism, user| secured.sasl_properties(mechanism, user);
    let case = |what, brokers: &String, properties, cure| (what, brokers.clone(), properties, cure);
    let credentials = "correct sasl.username and sasl.password";
    let strange = tls.replace(&path("authority.pem"), &path("stranger.pem"));
    let protocol = "set security.protocol in kafka.properties to ssl or sasl_ssl";
    let key = "let ssl.certificate.location and ssl.key.location";
    [
        case("a wrong password", &secured.sasl, sasl("PLAIN", "plain"), credentials),
        case("a user that SCRAM doesn't know", &secured.sasl, sasl("SCRAM-SHA-512", "plain"), credentials),
        case(
            "a mechanism that isn't there",
            &secured.sasl,
            sasl("SCRAM-SHA-256", "scram"),
            "doesn't have this sasl.mechanism",
        ),
        case("another authority", &secured.tls, strange, "let ssl.ca.location"),
        case("no client certificate", &secured.mutual, tls.clone(), key),
        case(
            "a stranger's certificate",
            &secured.mutual,
            secured.mutual_properties("stranger"),
            "don't take the client certificate",
        ),
        case("plaintext at a TLS port", &secured.tls, String::new(), protocol),
        case("TLS at a plaintext port", &secured.plain, tls, "this port doesn't speak TLS"),
    ]
}

#[test]
fn a_connection_that_fails_says_what_to_do() {
    let secured = secured();
    std::thread::scope(|scope| {
        for (what, brokers, properties, expected) in wrong_connections(secured) {
            scope.spawn(move || {
                let (_setup, config) = secured.setup(&brokers, &properties);
                let environment = [(PASSWORD, "not-the-password")];
                let weir = Weir::start_with(&config, &environment);
                let parts = [format!("no answer from the brokers at {brokers}: "), expected.into()];
                check_until(&config, &environment, 1, &parts);
                eventually(what, || {
                    let (status, body) = weir.get("/readyz");
                    assert_eq!(status, 503, "{what}");
                    body.contains(expected).then_some(())
                });
            });
        }
    });
}

/// How weir names each right that a route needs: to read the input, to write the output and the dead letters, to read the group.
fn rights_of(setup: &Setup) -> [String; 4] {
    let Setup { input, output, dead_letter, group, .. } = setup;
    let rights = [
        ("READ", "topic", input),
        ("WRITE", "topic", output),
        ("WRITE", "topic", dead_letter),
        ("READ", "group", group),
    ];
    rights.map(|(operation, kind, name)| format!("no {operation} on {kind} {name}: grant it"))
}

#[test]
fn missing_rights_are_named_and_asked_for_again() {
    let secured = secured();
    let (setup, config) = secured.setup(&secured.sasl, &secured.sasl_properties("PLAIN", "poor"));
    let environment = [(PASSWORD, PLAIN_PASSWORD)];
    let Setup { input, output, dead_letter, group, .. } = &setup;
    let missing = rights_of(&setup);
    let said = check_until(&config, &environment, 1, &missing);
    assert!(said.contains("--allow-principal User:poor"), "{said}");

    let weir = Weir::start_with(&config, &environment);
    let lacks = |rights: &[String]| {
        let (status, body) = weir.get("/readyz");
        (status == 503 && missing.iter().all(|right| body.contains(right) == rights.contains(right))).then_some(())
    };
    // It learns of the group when it joins.
    eventually("it says what is missing", || lacks(&missing[..3]));
    assert!(missing[..3].iter().all(|right| weir.log().contains(right)), "{}", weir.log());

    // Each right alone is named alone; to see a topic without being allowed to read it is not enough.
    secured.allow(&["poor"], "Describe", &["--topic", input]);
    secured.allow(&["poor"], "Describe", &["--group", group]);
    secured.allow(&["poor"], "Write", &["--topic", output, "--topic", dead_letter]);
    eventually("it says what is still missing", || lacks(&missing[..1]));
    secured.allow(&["poor"], "Read", &["--topic", input]);
    eventually("it says that the group doesn't take it", || lacks(&missing[3..]));
    assert!(weir.log().contains(&missing[3]), "{}", weir.log());
    secured.allow(&["poor"], "Read", &["--group", group]);
    weir.await_ready();
    produce(&secured.plain, input, [record(&year()[0].json)]);
    Reader::new(&secured.plain, output).take(1);
    check_until(&config, &environment, 0, &[]);

    let user = ["--remove", "--force", "--allow-principal", "User:poor"];
    secured.rights(&[&user[..], &["--operation", "Write", "--topic", output]].concat());
    eventually("it says which right was taken away", || lacks(&missing[1..2]));
    assert!(weir.log().contains(&missing[1]));
}

#[test]
fn a_missing_right_to_transactions_is_named() {
    let secured = secured();
    // This user may do all that at-least-once needs, and no more.
    let (setup, config) = secured.setup(&secured.sasl, &secured.sasl_properties("PLAIN", "plain"));
    let environment = [(PASSWORD, PLAIN_PASSWORD), ("WEIR__WORKER__DELIVERY", "exactly_once")];
    let missing = format!("no WRITE on transactional-id {}-", setup.group);
    check_until(&config, &environment, 1, std::slice::from_ref(&missing));
    let weir = Weir::start_with(&config, &environment);
    eventually("a worker says which right is missing", || {
        let (status, body) = weir.get("/readyz");
        (status == 503 && body.contains(&missing)).then_some(())
    });
    let ids = ["--transactional-id", &format!("{}-", setup.group), "--resource-pattern-type", "prefixed"];
    secured.allow(&["plain"], "Write", &ids);
    weir.await_ready();
    check_until(&config, &environment, 0, &[]);
    produce(&secured.plain, &setup.input, [record(&year()[0].json)]);
    Reader::new(&secured.plain, &setup.output).take(1);
    assert!(weir.stop().success());
}

/// Panics if a text has one of the passwords.
fn assert_shows_no_password(what: &str, text: &str) {
    for secret in [PLAIN_PASSWORD, SCRAM_PASSWORD] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} shows a password: {line:?}");
    }
}

/// The properties of librdkafka that log the most.
const ALL_DEBUGGING: &str = "debug = \"all\"";

#[test]
fn a_process_that_logs_everything_shows_no_secret() {
    let secured = secured();
    let properties = format!("{}\n{ALL_DEBUGGING}", secured.sasl_properties("SCRAM-SHA-512", "scram"));
    let (setup, config) = secured.setup(&secured.sasl, &properties);
    let weir = Weir::start_with(&config, &[(PASSWORD, SCRAM_PASSWORD), ("WEIR__LOG__LEVEL", "trace")]);
    weir.await_ready();
    produce(&secured.plain, &setup.input, [record("?")]);
    Reader::new(&secured.plain, &setup.dead_letter).take(1);
    let log = weir.log();
    assert!(log.contains("SaslHandshake") || log.contains("SASL"), "librdkafka's own debugging isn't logged:\n{log}");
    for path in ["/metrics", "/readyz", "/livez", "/v2/models/flights"] {
        assert_shows_no_password(path, &weir.get(path).1);
    }
    assert_shows_no_password("the log", &weir.log());
}

/// Properties in which a password stands where it is wrong, or beside what is.
fn broken_properties(secured: &Secured) -> [(&'static str, String); 8] {
    let sasl = secured.sasl_properties("SCRAM-SHA-512", "scram");
    let with = |line: &str| format!("{sasl}\n{line}");
    let quoted = format!("{SCRAM_PASSWORD:?}");
    let protocol = "\"security.protocol\" = ";
    let choice = with(&format!("{protocol}{quoted}")).replacen(&format!("{protocol}\"sasl_ssl\""), "", 1);
    let no_key = format!("{}\n\"ssl.key.password\" = {quoted}", secured.mutual_properties("nobody"));
    let twice = format!("\"sasl.password\" = {PLAIN_PASSWORD:?}\n\"sasl.password\" = {quoted}");
    [
        ("sasl.mechanism", with(&format!("\"sasl.pasword\" = {quoted}"))),
        ("a password as a list", with(&format!("\"sasl.password\" = [{quoted}]"))),
        ("a password as a table", with(&format!("\"sasl.password\" = {{ value = {quoted} }}"))),
        ("a password without its quote", with(&format!("\"sasl.password\" = \"{SCRAM_PASSWORD}"))),
        ("a password in place of a number", with(&format!("\"linger.ms\" = {quoted}"))),
        ("a password in place of a choice", choice),
        ("no key file", no_key),
        ("a password twice", with(&twice)),
    ]
}

#[test]
fn what_is_wrong_with_a_property_is_reported_without_its_value() {
    let secured = secured();
    for (what, properties) in broken_properties(secured) {
        let (_setup, config) = secured.setup(&secured.sasl, &format!("{properties}\n{ALL_DEBUGGING}"));
        for arguments in [&["check", "-c"][..], &["check", "--json", "-c"], &["serve", "-c"]] {
            let output = command().args(arguments).arg(&config).env("WEIR__LOG__LEVEL", "trace").output().unwrap();
            assert!(!output.status.success(), "{what}: {}", text(&output));
            assert_shows_no_password(what, &text(&output));
        }
    }
    // A whole section instead of a property.
    let (_setup, config) = secured.setup(&secured.sasl, "");
    let output = command().args(["check", "-c"]).arg(&config).env("WEIR__KAFKA__PROPERTIES", SCRAM_PASSWORD).output();
    assert_shows_no_password("a section", &text(&output.unwrap()));
}

impl Secured {
    /// Topics, a model and a configuration with these properties.
    fn setup(&self, brokers: &str, properties: &str) -> (Setup, PathBuf) {
        let mut setup = Setup::named(&self.plain);
        setup.create_topics(2);
        promote(&setup.store(), "production", publish(&setup.store(), 1, Preparation::default()));
        setup.brokers = brokers.into();
        setup.properties = properties.into();
        let config = setup.config("");
        (setup, config)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn tls_properties(&self) -> String {
        format!("\"security.protocol\" = \"ssl\"\n\"ssl.ca.location\" = {:?}", self.path("authority.pem"))
    }

    fn mutual_properties(&self, client: &str) -> String {
        let (certificate, key) = (self.path(&format!("{client}.pem")), self.path(&format!("{client}-key.pem")));
        format!(
            "{}\n\"ssl.certificate.location\" = {certificate:?}\n\"ssl.key.location\" = {key:?}",
            self.tls_properties()
        )
    }

    fn sasl_properties(&self, mechanism: &str, user: &str) -> String {
        let tls = self.tls_properties().replace("\"ssl\"", "\"sasl_ssl\"");
        format!("{tls}\n\"sasl.mechanism\" = {mechanism:?}\n\"sasl.username\" = {user:?}")
    }

    /// Gives users a right to what the options of `kafka-acls.sh` name.
    fn allow(&self, users: &[&str], operation: &str, resources: &[&str]) {
        let users: Vec<_> = users.iter().map(|user| format!("User:{user}")).collect();
        let users: Vec<_> = users.iter().flat_map(|user| ["--allow-principal", user]).collect();
        self.rights(&[&["--add", "--operation", operation], &users[..], resources].concat());
    }

    /// Changes who may do what.
    fn rights(&self, arguments: &[&str]) {
        rights::change(&self.plain, arguments);
    }
}

/// The broker, which is started once for all of these tests.
fn secured() -> &'static Secured {
    static SECURED: OnceLock<Secured> = OnceLock::new();
    SECURED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path());
        let ports: BTreeMap<&str, u16> =
            ["PLAINTEXT", "TLS", "MUTUAL", "SASL", "CONTROLLER"].map(|name| (name, free_port())).into();
        let settings = broker_settings(folder.path(), &ports);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let kafka = Kafka::start(ports["PLAINTEXT"], None, &settings);
        let at = |name: &str| format!("127.0.0.1:{}", ports[name]);
        let secured = Secured {
            _kafka: kafka,
            folder,
            plain: at("PLAINTEXT"),
            tls: at("TLS"),
            mutual: at("MUTUAL"),
            sasl: at("SASL"),
        };
        let password = format!("SCRAM-SHA-512=[password={SCRAM_PASSWORD}]");
        let user = ["--alter", "--add-config", &password, "--entity-type", "users", "--entity-name", "scram"];
        rights::run_kafka_tool("kafka.admin.ConfigCommand", &secured.plain, &user);
        // No more than weir says it needs.
        let users = ["plain", "scram", "CN=weir"];
        let topics = ["--resource-pattern-type", "prefixed", "--topic", "flights-"];
        secured.allow(&users, "Read", &[&topics[..], &["--group", "flights-"]].concat());
        secured.allow(&users, "Write", &topics);
        secured
    })
}

/// A listener of each kind, the users, and that what isn't allowed is denied.
fn broker_settings(folder: &Path, ports: &BTreeMap<&str, u16>) -> Vec<String> {
    let listeners: Vec<_> = ports.iter().map(|(name, port)| format!("{name}://127.0.0.1:{port}")).collect();
    let path = |name: &str| folder.join(name).display().to_string();
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_plain=\"{PLAIN_PASSWORD}\" \
         user_poor=\"{PLAIN_PASSWORD}\";"
    );
    vec![
        format!("listeners={}", listeners.join(",")),
        format!("controller.quorum.voters=1@127.0.0.1:{}", ports["CONTROLLER"]),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASL:SASL_SSL"
            .into(),
        "ssl.keystore.type=PEM".into(),
        format!("ssl.keystore.location={}", path("server-store.pem")),
        "ssl.truststore.type=PEM".into(),
        format!("ssl.truststore.location={}", path("authority.pem")),
        "listener.name.mutual.ssl.client.auth=required".into(),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512".into(),
        format!("listener.name.sasl.plain.sasl.jaas.config={plain}"),
        format!("listener.name.sasl.scram-sha-512.sasl.jaas.config={scram}"),
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".into(),
        "super.users=User:ANONYMOUS".into(),
    ]
}

/// An authority, what it has signed (`server`, `client`), and a `stranger` that signed itself.
fn write_certificates(folder: &Path) {
    let write = |name: &str, pem: String| std::fs::write(folder.join(name), pem).unwrap();
    let params = |name: &str| {
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = params("an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("authority.pem", authority.self_signed(&authority_key).unwrap().pem());
    let issuer = Issuer::new(authority, authority_key);
    for (file, name) in [("server", "kafka"), ("client", "weir")] {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name).signed_by(&key, &issuer).unwrap().pem();
        write(&format!("{file}-store.pem"), key.serialize_pem() + &certificate);
        write(&format!("{file}-key.pem"), key.serialize_pem());
        write(&format!("{file}.pem"), certificate);
    }
    let key = KeyPair::generate().unwrap();
    write("stranger.pem", params("a stranger").self_signed(&key).unwrap().pem());
    write("stranger-key.pem", key.serialize_pem());
}

fn record(value: &str) -> Record {
    Record { value: Some(value.into()), ..Record::default() }
}

/// Runs `weir check` until it ends with this code and has said all of this. On a machine that is busy with all tests
/// a handshake may take longer than `weir check` waits.
fn check_until(config: &Path, environment: &[(&str, &str)], code: i32, parts: &[String]) -> String {
    let mut said = String::new();
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut check = command();
        let output = check.args(["check", "-c"]).arg(config).envs(environment.iter().copied()).output().unwrap();
        said = text(&output);
        if output.status.code() == Some(code) && parts.iter().all(|part| said.contains(part)) {
            return said;
        }
    }
    panic!("weir check doesn't end with {code} and say {parts:?}, but:\n{said}");
}

/// Everything that a program has printed.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
