//! The loop of the mailer: a notice, its mail, its commit.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use lettre::message::Message;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use weir_client::{Client, ClientError, ConsumedEvent, ConsumerOptions, From};
use weir_wire::ids::{GroupName, TopicName};

use crate::letter::{self, Addresses};

/// One step of the conversation with the SMTP server: a local relay answers within milliseconds,
/// a slow one scans the mail first.
const SMTP_TIMEOUT: Duration = Duration::from_secs(30);
/// The wait after a first failure, and the longest: a relay that restarts is found at once, one
/// that is away for hours is not hammered.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// So long a server may say "later" to one mail while it takes others; then the mail is given up,
/// for it holds up all behind it.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// What a mailer does.
#[derive(Debug, Clone)]
pub struct MailerOptions {
    /// The SMTP server, `host:port`; plain SMTP.
    pub smtp: String,
    /// Who writes to whom.
    pub addresses: Addresses,
    /// Where the notices are.
    pub topic: TopicName,
    /// Whose committed offsets tell which notices are done.
    pub group: GroupName,
}

/// What a mailer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Mails that the server took.
    pub sent: u64,
    /// Notices that can never become a mail, or whose mail the server refused for good.
    pub failed: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mails sent, {} notices failed", self.sent, self.failed)
    }
}

/// Why a mailer cannot begin or go on. What it had sent is in the log; the notices are not lost.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// An option is wrong; fix it.
    #[error("{0}")]
    Options(String),
    /// The broker's side.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Writes the mails. See [`run`](Self::run).
#[derive(Debug)]
pub struct Mailer {
    options: MailerOptions,
    smtp: AsyncSmtpTransport<Tokio1Executor>,
}

enum Sent {
    Taken,
    Refused(String),
    Stopped,
}

impl Mailer {
    /// Checks the options; nothing is sent yet.
    ///
    /// # Errors
    /// [`MailerError::Options`] for an SMTP address or a sender that is none.
    pub fn new(options: MailerOptions) -> Result<Self, MailerError> {
        let wrong = |what: &str| {
            MailerError::Options(format!(
                "{:?} is no SMTP server: {what}; write host:port",
                options.smtp
            ))
        };
        let (host, port) =
            options.smtp.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
        let port = port.parse().map_err(|_| wrong("the port is no number"))?;
        letter::mailbox(&options.addresses.from)
            .map_err(|why| MailerError::Options(format!("the sender {why}")))?;
        // "Dangerous" is lettre's word for SMTP without TLS, which this mailer speaks to a relay nearby.
        let smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .timeout(Some(SMTP_TIMEOUT))
            .build();
        Ok(Self { options, smtp })
    }

    /// Mails notices, old ones first, until `until` resolves.
    ///
    /// # Errors
    /// [`MailerError::Client`] when the topic does not exist or the broker stays away too long.
    pub async fn run(
        &self,
        client: &Client,
        until: impl Future<Output = ()>,
    ) -> Result<Report, MailerError> {
        let mut until = pin!(until);
        let options = ConsumerOptions {
            from: From::Committed,
            group: Some(self.options.group.clone()),
            ..ConsumerOptions::default()
        };
        let mut consumer = client.consumer(&self.options.topic, options).await?;
        let mut report = Report::default();
        loop {
            let notice = tokio::select! {
                biased;
                () = &mut until => break,
                notice = consumer.next() => notice,
            };
            let Some(notice) = notice.transpose()? else { break };
            match self.deliver(&notice, until.as_mut()).await {
                Sent::Taken => report.sent += 1,
                Sent::Refused(why) => {
                    report.failed += 1;
                    warn!(partition = %notice.partition, offset = %notice.offset, %why,
                        "a notice became no mail");
                }
                Sent::Stopped => break,
            }
            match consumer.commit().await {
                Ok(()) => {}
                // The mail is out; the next commit covers this one as well.
                Err(error) if error.is_retryable() => {
                    warn!(%error, "the group's offset was not stored")
                }
                Err(error) => return Err(error.into()),
            }
        }
        consumer.close().await?;
        info!(sent = report.sent, failed = report.failed, "mailer stopped");
        Ok(report)
    }

    async fn deliver(
        &self,
        notice: &ConsumedEvent,
        mut until: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) -> Sent {
        let mail = match letter::write(&self.options.addresses, notice) {
            Ok(mail) => mail,
            Err(why) => return Sent::Refused(why.to_string()),
        };
        let (begun, mut wait) = (Instant::now(), RETRY_FIRST);
        loop {
            match self.send(mail.clone(), begun.elapsed()).await {
                Ok(sent) => return sent,
                Err(why) => warn!(%why, ?wait, "a mail did not go out; trying again"),
            }
            tokio::select! {
                () = &mut until => return Sent::Stopped,
                () = sleep(wait) => wait = (2 * wait).min(RETRY_LONGEST),
            }
        }
    }

    /// One attempt; an error may pass.
    async fn send(
        &self,
        mail: Message,
        trying_for: Duration,
    ) -> Result<Sent, lettre::transport::smtp::Error> {
        match self.smtp.send(mail).await {
            Ok(_) => Ok(Sent::Taken),
            // "Never", or a mail that cannot be said in this server's SMTP.
            Err(error) if error.is_permanent() || error.is_client() => {
                Ok(Sent::Refused(error.to_string()))
            }
            // A server that answers, and always the same: this mail is the reason.
            Err(error) if error.is_transient() && PATIENCE <= trying_for => {
                Ok(Sent::Refused(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}
