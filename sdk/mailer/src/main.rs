//! `weir-mailer`: runs the mailer until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use weir_mailer::{
    Credentials, Mailer, MailerOptions, Recipient, Secret, SinkError, SmtpServer, Template,
};
use weir_sink::SinkArguments;

/// The password, where no file is named.
const PASSWORD_VARIABLE: &str = "WEIR_SMTP_PASSWORD";

/// Writes one mail for each event of a topic, through SMTP.
#[derive(Parser)]
#[command(
    name = "weir-mailer",
    version,
    after_help = "\
Templates: a line \"Subject: ...\", an empty line, the body; fields as {{ value.user.name }} (the
  event's JSON value), {{ text }} (the value as it is), {{ key }}, {{ headers.NAME }}, {{ topic }},
  {{ partition }}, {{ offset }}, {{ timestamp }} (ms), {{ time }} (RFC 3339); loops and conditions as
  in Jinja. A template that names a field which the event has not does not fit; the next one is tried.

Examples:
  weir-mailer --topic notices --dead-letter notices-dead --smtp smtp://localhost \\
      --from 'weir <weir@example.com>' --to '{{ key }}@example.com'
  weir-mailer --config mailer.toml
      topic = \"notices\"
      dead-letter = \"notices-dead\"
      smtp = \"smtp+starttls://mail.example.com\"
      user = \"weir\"
      password-file = \"/run/credentials/weir-mailer.service/password\"
      from = \"weir <weir@example.com>\"
      to-pointer = \"/user/email\"
      template = [\"over.txt\"]

An event is done when the server has taken its mail; then its offset is committed, then comes the
next. A crash sends at most one mail per partition once more, with the same Message-ID.
SIGTERM and SIGINT: mails under way are finished. Exit codes: 0 done, 1 failed, 2 wrong command line."
)]
struct Arguments {
    #[command(flatten)]
    sink: SinkArguments,
    /// The SMTP server: smtps://host[:465] (TLS), smtp+starttls://host[:587], or without any TLS
    /// smtp://host[:25], for a relay on this machine
    #[arg(long, value_name = "URL")]
    smtp: SmtpServer,
    /// A PEM file with the certificates of those who may vouch for the server; else those whom this
    /// machine trusts
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The user to log in as; the password is in a file or in $WEIR_SMTP_PASSWORD
    #[arg(long)]
    user: Option<String>,
    /// The file with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// The sender of every mail, such as 'weir <weir@example.com>'
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// The recipient, with fields of the event in it: '{{ key }}@example.com'
    #[arg(long, value_name = "PATTERN", required_unless_present = "to_pointer")]
    to: Option<String>,
    /// Where the recipient is in the event's JSON value: /user/email
    #[arg(long, value_name = "POINTER", conflicts_with = "to")]
    to_pointer: Option<String>,
    /// A file with a template; may be given several times, and the first that fits an event is
    /// used. Else a daily limit is told in words, and anything else as it is
    #[arg(long, value_name = "FILE")]
    template: Vec<PathBuf>,
    /// For how many seconds the server may take over one mail: one that scans mails takes its time,
    /// and one that is given up on although it took the mail gets it twice
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    attempt_timeout_s: u32,
}

impl AsRef<SinkArguments> for Arguments {
    fn as_ref(&self) -> &SinkArguments {
        &self.sink
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    weir_sink::main("mailer", open).await
}

fn open(arguments: &Arguments) -> Result<Mailer, SinkError> {
    let to = match (&arguments.to, &arguments.to_pointer) {
        (_, Some(pointer)) => Recipient::Pointer(pointer.clone()),
        (pattern, None) => Recipient::Pattern(pattern.clone().unwrap_or_default()),
    };
    let templates = arguments.template.iter().map(|path| Template::read(path));
    Mailer::new(MailerOptions {
        smtp: arguments.smtp.clone(),
        credentials: credentials(arguments)?,
        ca_file: arguments.ca_file.clone(),
        attempt_timeout: Duration::from_secs(arguments.attempt_timeout_s.into()),
        from: arguments.from.clone(),
        to,
        templates: templates.collect::<Result<_, _>>()?,
    })
}

fn credentials(arguments: &Arguments) -> Result<Option<Credentials>, SinkError> {
    let Some(user) = arguments.user.clone() else { return Ok(None) };
    let password = Secret::find(arguments.password_file.as_deref(), PASSWORD_VARIABLE)
        .map_err(|error| SinkError::Options(error.to_string()))?;
    let password = password.ok_or_else(|| {
        SinkError::Options(format!(
            "there is no password for {user}: name --password-file or set {PASSWORD_VARIABLE}"
        ))
    })?;
    Ok(Some(Credentials { user, password }))
}
