//! The SMTP server: how it is reached, and what its answers mean.
//!
//! Promises: TLS unless plain SMTP was asked for by name, and every certificate verified; a password
//! never goes over a connection without TLS; what a failure means depends on how far we had come
//! ([`Stage`]), never on the text of it. Not here on purpose: connections kept between mails (one is
//! made for each, so that none is found dead in the middle of a mail).

use std::path::Path;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{self, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;
use weir_sink::{Never, Outcome, Secret, SinkError, trusted_certificates, why_tls_failed};

use crate::letter::{Mail, one_line};

/// To reach the server, to greet it and to show the password: a server that is there does it in
/// milliseconds, one far away in a second or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// For a goodbye that nobody waits for.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a server's answer that are told further.
const ANSWER_CHARS_MAX: usize = 300;

/// Where the SMTP server is: `smtps://host`, `smtp+starttls://host:587`, or plain `smtp://host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpServer {
    /// Its name or address, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What protects the conversation.
    pub security: Security,
}

/// What protects the conversation with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Nothing: for a relay on the same machine.
    Plain,
    /// TLS begins after a word of SMTP; without it nothing is sent.
    Starttls,
    /// TLS from the first byte.
    Tls,
}

/// Who we are to the server.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl std::str::FromStr for SmtpServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "it is no SMTP server: {what}; write smtps://host, smtp+starttls://host, or for \
                 a relay on this machine smtp://host"
            )
        };
        let (scheme, place) =
            text.split_once("://").ok_or_else(|| wrong("it says not whether to use TLS"))?;
        let (security, port) = match scheme {
            "smtp" => (Security::Plain, 25),
            "smtp+starttls" => (Security::Starttls, 587),
            "smtps" => (Security::Tls, 465),
            _ => return Err(wrong("the word before :// is unknown")),
        };
        if place.contains('@') {
            return Err(wrong("user and password have settings of their own"));
        }
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = match place.rsplit_once(':') {
            // The colons of an IPv6 address are inside of its brackets.
            Some((host, digits)) if !digits.ends_with(']') => {
                (host, digits.parse().map_err(|_| wrong("the port is no number"))?)
            }
            _ => (place, port),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(wrong("the host is missing"));
        }
        Ok(Self { host: host.to_owned(), port, security })
    }
}

/// A server with all that is needed to talk to it.
pub(crate) struct Smtp {
    server: SmtpServer,
    tls: Option<TlsParameters>,
    credentials: Option<authentication::Credentials>,
    attempt_timeout: Duration,
    hello: ClientId,
}

/// How far a conversation had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Until the greeting, TLS included.
    Greeting,
    /// The password.
    Password,
    /// From MAIL to the last yes.
    Letter,
}

/// What a failure is, without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 5yz.
    Permanent(u16),
    /// 4yz.
    Transient,
    /// The certificate, or the whole of TLS.
    Tls,
    /// The server cannot do what this needs: STARTTLS, AUTH, addresses in Unicode.
    Incapable,
    /// The connection, or sense in what came over it.
    Lost,
}

impl Smtp {
    pub(crate) fn new(
        server: SmtpServer,
        credentials: Option<Credentials>,
        ca_file: Option<&Path>,
        attempt_timeout: Duration,
    ) -> Result<Self, SinkError> {
        if credentials.is_some() && server.security == Security::Plain {
            return Err(SinkError::Options(
                "a password would be readable on its way over smtp://; use smtps:// or \
                 smtp+starttls://, or leave the user out"
                    .to_owned(),
            ));
        }
        let tls = match server.security {
            Security::Plain => None,
            Security::Starttls | Security::Tls => Some(tls(&server.host, ca_file)?),
        };
        let credentials = credentials.map(|Credentials { user, password }| {
            authentication::Credentials::new(user, password.reveal().to_owned())
        });
        Ok(Self { server, tls, credentials, attempt_timeout, hello: ClientId::default() })
    }

    /// One attempt at one mail.
    pub(crate) async fn send(&self, mail: &Mail) -> Outcome {
        let Self { server: SmtpServer { host, port, .. }, .. } = self;
        let mut connection = match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err((stage, error))) => return self.judge(stage, &error),
            Err(_) => {
                let waited = CONNECT_TIMEOUT.as_secs();
                let reason = format!("{host}:{port} does not greet within {waited} s");
                return Outcome::Away { reason };
            }
        };
        let sending = connection.send(&mail.envelope, &mail.text);
        match timeout(self.attempt_timeout, sending).await {
            Ok(Ok(_)) => {
                // The yes is to be committed at once; the goodbye is only polite.
                tokio::spawn(async move {
                    let _ = timeout(QUIT_TIMEOUT, connection.quit()).await;
                });
                Outcome::Taken
            }
            Ok(Err(error)) => self.judge(Stage::Letter, &error),
            Err(_) => {
                let waited = self.attempt_timeout.as_secs();
                let reason = format!("{host}:{port} has no answer to a mail within {waited} s");
                Outcome::Later { reason, after: None }
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, (Stage, Error)> {
        let SmtpServer { host, port, security } = &self.server;
        let from_the_start = self.tls.clone().filter(|_| *security == Security::Tls);
        let place = (host.as_str(), *port);
        let connecting = AsyncSmtpConnection::connect_tokio1(
            place,
            Some(CONNECT_TIMEOUT),
            &self.hello,
            from_the_start,
            None,
        );
        let mut connection = connecting.await.map_err(|error| (Stage::Greeting, error))?;
        if let Some(tls) = self.tls.clone().filter(|_| *security == Security::Starttls) {
            let upgraded = connection.starttls(tls, &self.hello).await;
            upgraded.map_err(|error| (Stage::Greeting, error))?;
        }
        if let Some(credentials) = &self.credentials {
            let known = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await;
            known.map_err(|error| (Stage::Password, error))?;
        }
        Ok(connection)
    }

    fn judge(&self, stage: Stage, error: &Error) -> Outcome {
        let (kind, words) = match (error.status(), why_tls_failed(error)) {
            (Some(code), _) if error.is_permanent() => {
                (Kind::Permanent(u16::from(code)), error.to_string())
            }
            (Some(_), _) => (Kind::Transient, error.to_string()),
            (None, Some(why)) => (Kind::Tls, format!("TLS failed: {why}")),
            (None, None) if error.is_client() => (Kind::Incapable, error.to_string()),
            (None, None) => (Kind::Lost, chain(error)),
        };
        let SmtpServer { host, port, .. } = &self.server;
        let words: String = one_line(&words).chars().take(ANSWER_CHARS_MAX).collect();
        decide(stage, kind, format!("{host}:{port}: {words}"))
    }
}

/// What a failure means.
fn decide(stage: Stage, kind: Kind, reason: String) -> Outcome {
    match (stage, kind) {
        // RFC 4954: these speak of who we are, whenever they come. (503 is what some say where a
        // password is missing, and it is never about one mail.)
        (_, Kind::Permanent(503 | 530 | 534 | 535 | 538)) => {
            Outcome::Stop { reason: format!("{reason}; look at user and password") }
        }
        (Stage::Letter, Kind::Permanent(_) | Kind::Incapable) => {
            Outcome::Never(Never::new("refused", reason))
        }
        // Broken off in the middle of a mail: this mail may be why.
        (Stage::Letter, Kind::Transient | Kind::Lost | Kind::Tls) => {
            Outcome::Later { reason, after: None }
        }
        // It takes no mail of ours, whichever it is.
        (Stage::Greeting | Stage::Password, Kind::Permanent(_) | Kind::Tls | Kind::Incapable) => {
            Outcome::Stop { reason }
        }
        (Stage::Greeting | Stage::Password, Kind::Transient | Kind::Lost) => {
            Outcome::Away { reason }
        }
    }
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).finish_non_exhaustive()
    }
}

fn tls(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, SinkError> {
    let broken = |error: Error| SinkError::Options(format!("TLS cannot be set up: {error}"));
    let trusted =
        trusted_certificates(ca_file).map_err(|error| SinkError::Options(error.to_string()))?;
    // Nobody but those: what the machine trusts is among them only if no file was named.
    let mut builder =
        TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::None);
    for certificate in trusted {
        let certificate = Certificate::from_der(certificate.to_vec()).map_err(broken)?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(broken)
}

/// An error with what is behind it: lettre's own words are "Connection error".
fn chain(error: &Error) -> String {
    let mut words = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        next = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_with_their_security() {
        for (text, host, port, security) in [
            ("smtp://localhost", "localhost", 25, Security::Plain),
            ("smtps://mail.example.com", "mail.example.com", 465, Security::Tls),
            ("smtp+starttls://mail.example.com/", "mail.example.com", 587, Security::Starttls),
            ("smtp://127.0.0.1:2525", "127.0.0.1", 2525, Security::Plain),
            ("smtps://[::1]", "::1", 465, Security::Tls),
            ("smtps://[::1]:4650", "::1", 4650, Security::Tls),
        ] {
            let host = host.to_owned();
            assert_eq!(text.parse(), Ok(SmtpServer { host, port, security }), "{text}");
        }
        for (text, says) in [
            ("mail.example.com:25", "whether to use TLS"),
            ("http://mail.example.com", "unknown"),
            ("smtps://user:word@mail.example.com", "settings of their own"),
            ("smtps://mail.example.com:x", "no number"),
            ("smtps://", "host is missing"),
            ("smtps://a/b", "host is missing"),
        ] {
            let error = text.parse::<SmtpServer>().unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("word@"), "{error}");
        }
    }

    #[test]
    fn what_an_answer_means_depends_on_how_far_we_had_come() {
        let word = |stage, kind| match decide(stage, kind, String::new()) {
            Outcome::Taken => "taken",
            Outcome::Later { .. } => "later",
            Outcome::Away { .. } => "away",
            Outcome::Never(_) => "never",
            Outcome::Stop { .. } => "stop",
        };
        let kinds = [
            Kind::Permanent(550),
            Kind::Permanent(535),
            Kind::Transient,
            Kind::Tls,
            Kind::Incapable,
            Kind::Lost,
        ];
        let row = |stage| kinds.map(|kind| word(stage, kind));
        assert_eq!(row(Stage::Greeting), ["stop", "stop", "away", "stop", "stop", "away"]);
        assert_eq!(row(Stage::Password), ["stop", "stop", "away", "stop", "stop", "away"]);
        assert_eq!(row(Stage::Letter), ["never", "stop", "later", "later", "never", "later"]);
    }

    #[test]
    fn a_password_never_goes_over_plain_smtp() {
        let credentials = Credentials { user: "weir".into(), password: Secret::new("hunter2") };
        let server = "smtp://127.0.0.1".parse().unwrap();
        let error = Smtp::new(server, Some(credentials), None, QUIT_TIMEOUT).unwrap_err();
        assert!(error.to_string().contains("readable on its way"), "{error}");
    }
}
