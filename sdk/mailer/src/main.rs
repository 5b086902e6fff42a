//! `weir-mailer`: runs the mailer until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing::error;
use tracing_subscriber::EnvFilter;
use weir_client::{Client, ClientConfig, default_context};
use weir_mailer::{Addresses, Mailer, MailerError, MailerOptions};
use weir_wire::ids::{GroupName, TopicName};

/// Writes one mail for each notice of a topic, through SMTP.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The broker's context file; else $WEIR_CONTEXT, else ./weir-data/client.toml
    #[arg(long)]
    context: Option<PathBuf>,
    /// The topic of the notices
    #[arg(long)]
    topic: TopicName,
    /// The SMTP server, host:port; plain SMTP, so keep it near
    #[arg(long, default_value = "127.0.0.1:25")]
    smtp: String,
    /// The sender, such as "weir <weir@example.com>"
    #[arg(long)]
    from: String,
    /// The recipient; {key} stands for the notice's key
    #[arg(long, default_value = "{key}@localhost")]
    to: String,
    /// Whose committed offsets tell which notices are done
    #[arg(long, default_value = "mailer", value_parser = GroupName::parse)]
    group: GroupName,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), MailerError> {
    let mailer = Mailer::new(MailerOptions {
        smtp: arguments.smtp,
        addresses: Addresses { from: arguments.from, to_template: arguments.to },
        topic: arguments.topic,
        group: arguments.group,
    })?;
    let context = arguments.context.unwrap_or_else(default_context);
    let client = Client::connect(ClientConfig::from_context(context)?).await?;
    mailer.run(&client, stop_signal()).await?;
    client.close().await;
    Ok(())
}

/// Resolves when the process is asked to stop, by a person or by its supervisor.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
