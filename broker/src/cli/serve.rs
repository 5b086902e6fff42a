//! `weir serve`: what a broker is started with, from flags, a file and defaults, in this order.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::serve::{self, ServeFile, ServeOptions};

/// Run a broker in this terminal until Ctrl-C.
///
/// A fresh start listens on loopback only, makes a certificate and an admin token in the data
/// directory, and writes DIR/client.toml, which the other commands read. When all is ready it
/// prints `weir ready: data quic://… admin http://…`. Logs go to stderr; RUST_LOG chooses them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir serve
  weir serve --data-dir /var/lib/weir --listen 127.0.0.1:0 --admin 127.0.0.1:0

weir.toml (a flag wins over the file):
  data_dir = \"/var/lib/weir\"
  listen = \"0.0.0.0:4433\"            # off loopback a real certificate is needed
  admin = \"127.0.0.1:4480\"
  certificate = \"/etc/weir/chain.pem\"
  private_key = \"/etc/weir/key.pem\"
  server_name = \"weir.example.com\"     # a name in that certificate")]
pub struct Serve {
    /// Where everything is kept; made if it is not there [default: ./weir-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients connect (QUIC); port 0 takes a free one [default: 127.0.0.1:4433].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where operators connect (HTTP); port 0 takes a free one [default: 127.0.0.1:4480].
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<SocketAddr>,
    /// A file with the same settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    /// Serves until SIGINT or SIGTERM.
    pub async fn run(self) -> Result<(), Failure> {
        let sentence = |error: serve::ServeError| Failure::new(error.to_string());
        let options = self.options().map_err(sentence)?;
        serve::run(options).await.map_err(sentence)
    }

    fn options(self) -> Result<ServeOptions, serve::ServeError> {
        let file = match &self.config {
            Some(path) => ServeFile::load(path)?,
            None => ServeFile::default(),
        };
        let default = ServeOptions::default();
        Ok(ServeOptions {
            data_dir: self.data_dir.or(file.data_dir).unwrap_or(default.data_dir),
            listen: self.listen.or(file.listen).unwrap_or(default.listen),
            admin: self.admin.or(file.admin).unwrap_or(default.admin),
            certificate: file.certificate.zip(file.private_key).or(default.certificate),
            server_name: file.server_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "listen = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"").unwrap();
        let serve = Serve {
            data_dir: None,
            listen: "127.0.0.1:3".parse().ok(),
            admin: None,
            config: Some(file.path().to_owned()),
        };
        let options = serve.options().unwrap();
        assert_eq!(options.listen, "127.0.0.1:3".parse().unwrap());
        assert_eq!(options.admin, "127.0.0.1:2".parse().unwrap());
        assert_eq!(options.data_dir, ServeOptions::default().data_dir);
    }

    #[test]
    fn a_config_file_that_is_not_there_is_named() {
        let config = Some(PathBuf::from("/nowhere/weir.toml"));
        let serve = Serve { data_dir: None, listen: None, admin: None, config };
        let error = serve.options().unwrap_err().to_string();
        assert!(error.contains("/nowhere/weir.toml"), "{error}");
    }
}
