//! `weir-webhook`: runs the webhook sink until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use weir_sink::{Secret, SinkArguments, SinkError};
use weir_webhook::{SigningSecrets, Target, Webhook, WebhookOptions};

/// The signing secrets, where no file is named.
const SECRET_VARIABLE: &str = "WEIR_WEBHOOK_SECRET";

/// Posts each event of a topic to a URL, signed per the Standard Webhooks specification.
#[derive(Parser)]
#[command(
    name = "weir-webhook",
    version,
    after_help = "\
The body is the event's value, as it is. The receiver checks webhook-signature (any Standard Webhooks
library does), answers 2xx, and tells a second copy by its webhook-id, TOPIC:PARTITION:OFFSET.
  2xx                     done; the offset is committed, then comes the partition's next event
  408, 429, 5xx, broken   again, after Retry-After or with growing waits, for --patience-s at most
  nobody there            again, without an end: the events wait in the topic
  all others, 410, 3xx    to the dead-letter topic; redirects are not followed

Examples:
  (umask 077; echo whsec_$(head -c 32 /dev/urandom | base64) > hook.secret)
  weir-webhook --topic notices --dead-letter notices-dead --url https://example.com/hook \\
      --secret-file hook.secret
  weir-webhook --config webhook.toml
      topic = \"notices\"
      dead-letter = \"notices-dead\"
      url = \"https://example.com/hook\"
      secret-file = \"/run/credentials/weir-webhook.service/secret\"

To change the secret: put the new one in the file beside the old one, restart, let the receiver
learn it, and take the old one out. A crash posts at most one event per partition once more.
SIGTERM and SIGINT: requests under way are finished. Exit codes: 0 done, 1 failed, 2 wrong command line."
)]
struct Arguments {
    #[command(flatten)]
    sink: SinkArguments,
    /// Where to post to: https://host/path, or http:// for a receiver nearby
    #[arg(long)]
    url: Target,
    /// A file with the signing secrets, whsec_..., one a line; else they are in $WEIR_WEBHOOK_SECRET
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A PEM file with the certificates of those who may vouch for the receiver; else those whom
    /// this machine trusts
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// For how many seconds the receiver may take over one event
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    attempt_timeout_s: u32,
}

impl AsRef<SinkArguments> for Arguments {
    fn as_ref(&self) -> &SinkArguments {
        &self.sink
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    weir_sink::main("webhook", open).await
}

fn open(arguments: &Arguments) -> Result<Webhook, SinkError> {
    let secrets = Secret::find(arguments.secret_file.as_deref(), SECRET_VARIABLE)
        .map_err(|error| SinkError::Options(error.to_string()))?;
    let secrets = secrets.ok_or_else(|| {
        SinkError::Options(format!(
            "there is no signing secret: name --secret-file or set {SECRET_VARIABLE}; see --help"
        ))
    })?;
    let secrets = SigningSecrets::parse(&secrets);
    Webhook::new(WebhookOptions {
        target: arguments.url.clone(),
        secrets: secrets.map_err(|error| SinkError::Options(error.to_string()))?,
        ca_file: arguments.ca_file.clone(),
        attempt_timeout: Duration::from_secs(arguments.attempt_timeout_s.into()),
    })
}
