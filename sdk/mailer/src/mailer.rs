//! What "deliver" means for a mailer.

use std::path::PathBuf;
use std::time::Duration;

use weir_client::ConsumedEvent;
use weir_sink::{Deliver, Never, Outcome, SinkError};

use crate::letter::{Letters, Mail, Recipient};
use crate::smtp::{Credentials, Smtp, SmtpServer};
use crate::template::{Template, Templates};

/// What a mailer writes, to whom, and by which server.
#[derive(Debug, Clone)]
pub struct MailerOptions {
    /// The SMTP server.
    pub smtp: SmtpServer,
    /// Who we are to it.
    pub credentials: Option<Credentials>,
    /// Who may vouch for it, PEM; `None`: whom the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// For how long one mail may take from MAIL to the server's yes.
    pub attempt_timeout: Duration,
    /// The sender of every mail, such as `weir <weir@example.com>`.
    pub from: String,
    /// Who is written to.
    pub to: Recipient,
    /// What is written: the first of them that fits the event. Empty: the built-in ones.
    pub templates: Vec<Template>,
}

/// Writes a mail for each event. Run it with [`Sink`](weir_sink::Sink).
#[derive(Debug)]
pub struct Mailer {
    letters: Letters,
    smtp: Smtp,
}

impl Mailer {
    /// Checks the options; nothing is sent yet.
    ///
    /// # Errors
    /// [`SinkError::Options`] names the option that is wrong.
    pub fn new(options: MailerOptions) -> Result<Self, SinkError> {
        let templates = match options.templates.is_empty() {
            true => Template::built_in(),
            false => options.templates,
        };
        let letters = Letters::new(&options.from, &options.to, &Templates::new(templates)?)?;
        let smtp = Smtp::new(
            options.smtp,
            options.credentials,
            options.ca_file.as_deref(),
            options.attempt_timeout,
        )?;
        Ok(Self { letters, smtp })
    }
}

impl Deliver for Mailer {
    type Parcel = Mail;

    fn prepare(&self, event: &ConsumedEvent) -> Result<Mail, Never> {
        self.letters.write(event)
    }

    async fn attempt(&self, mail: &Mail) -> Outcome {
        self.smtp.send(mail).await
    }
}
