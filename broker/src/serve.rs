//! Puts the broker together and takes it apart again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use weir_log::segment::Machine;
use weir_views::ViewError;
use weir_views::store::Store;
use weir_wire::fault::Fault;

use crate::admin;
use crate::broker::{Broker, Ground};
use crate::home::{Home, HomeError};
use crate::listen::{ListenError, Listener};
use crate::shelf::{Shelf, ShelfError};
use crate::wall_clock::now;

/// Threads that judge at least: a rule that burns its whole time budget holds one of them, and the
/// other partitions must not notice.
const JUDGES_MIN: usize = 4;

/// How long a killed predecessor may take to let go of the folder and the ports.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The data protocol's address (UDP); port 0 takes a free one.
    pub listen: SocketAddr,
    /// The admin API's address (TCP); port 0 takes a free one.
    pub admin: SocketAddr,
    /// A certificate chain and its key (PEM) in place of the self-signed one: needed off loopback.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A name in that certificate, which clients look for; `localhost` if not said.
    pub server_name: Option<String>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("weir-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 4433)),
            admin: SocketAddr::from(([127, 0, 0, 1], 4480)),
            certificate: None,
            server_name: None,
        }
    }
}

/// The same as a file, `weir.toml`. What is left out is the default; a command line flag wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeFile {
    /// See [`ServeOptions::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// See [`ServeOptions::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`ServeOptions::admin`].
    pub admin: Option<SocketAddr>,
    /// PEM file with the certificate chain; `private_key` belongs to it.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's key.
    pub private_key: Option<PathBuf>,
    /// A name in that certificate, which clients look for; `localhost` if not said.
    pub server_name: Option<String>,
}

impl ServeFile {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, ServeError> {
        let wrong = |why: String| ServeError::Config(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| {
            ServeError::Config(format!(
                "cannot read {}: {error}; check the path behind --config",
                path.display()
            ))
        })?;
        let file: Self =
            toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        if file.certificate.is_some() != file.private_key.is_some() {
            return Err(wrong(
                "certificate and private_key belong together; give both or neither".into(),
            ));
        }
        Ok(file)
    }
}

/// Why the broker did not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is not right.
    #[error("{0}")]
    Config(String),
    /// The data directory is not usable.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The data port is not to be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The admin port is not to be had.
    #[error(
        "cannot listen on {address} (TCP): {source}; stop whoever has it or choose another --admin"
    )]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A view cannot be opened.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The plugins cannot be run.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The broker's own topics cannot be read.
    #[error("{0}")]
    Internal(#[from] Fault),
    /// The system refuses something.
    #[error("the broker cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// A broker at work.
pub struct Running {
    /// Where clients connect.
    pub data_addr: SocketAddr,
    /// Where operators do.
    pub admin_addr: SocketAddr,
    /// What both need to know.
    pub client_toml: PathBuf,
    doors: Vec<JoinHandle<()>>,
    broker: Broker,
    _judges: Judges,
    // Last, so that the folder stays locked until all is closed.
    _home: Home,
}

/// Serves until the process is told to stop (SIGINT, SIGTERM, SIGHUP); prints one line when ready.
pub async fn run(options: ServeOptions) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let running = start(options).await?;
    announce(&running);
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    tracing::info!("stopping: answering what was taken, closing the logs");
    running.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "scripts wait for this line")]
fn announce(running: &Running) {
    use std::io::Write;
    println!("weir ready: data quic://{} admin http://{}", running.data_addr, running.admin_addr);
    let _ = std::io::stdout().flush();
}

/// Starts a broker and gives it back when it is ready.
pub async fn start(options: ServeOptions) -> Result<Running, ServeError> {
    refuse_to_be_exposed(&options)?;
    take_all_file_handles();
    let home = patiently(async || Ok(Home::open(&options.data_dir)?)).await?;
    let listener = patiently(async || {
        let (certificates, key) = home.certificate(options.certificate.as_ref())?;
        Ok(Listener::open(options.listen, certificates, key)?)
    })
    .await?;
    let data_addr = listener.address()?;
    let admin_listener = patiently(async || {
        let bound = TcpListener::bind(options.admin).await;
        bound.map_err(|source| ServeError::Admin { address: options.admin, source })
    })
    .await?;
    let admin_addr = admin_listener.local_addr()?;

    let judges = Judges::start()?;
    let broker = Broker::open(Ground {
        machine: Machine::real(),
        log_dir: home.log_dir(),
        store: Store::open(&home.views_dir())?,
        plugins: Arc::new(Shelf::open(&home)?),
        clock: Arc::new(now),
        judges: judges.handle(),
        token: home.token(),
    })
    .await?;
    let trusted = options.certificate.as_ref().map(|(chain, _)| chain.as_path());
    let client_toml =
        home.write_client_toml(data_addr, admin_addr, trusted, options.server_name.as_deref())?;
    let (token, control) = (home.token(), Arc::clone(&broker.control));
    let mut admin_stop = broker.stopping.clone();
    let admin_door = tokio::spawn(async move {
        let stopped = async move {
            let _ = admin_stop.wait_for(|stop| *stop).await;
        };
        if let Err(error) = admin::serve(admin_listener, control, token, stopped).await {
            tracing::error!(%error, "the admin API stopped");
        }
    });
    let data_door =
        tokio::spawn(listener.serve(Arc::clone(&broker.office), broker.stopping.clone()));
    tracing::info!(
        data_dir = %options.data_dir.display(),
        fingerprint = %home.fingerprint(),
        token_file = %home.token_file().display(),
        "broker started"
    );
    Ok(Running {
        data_addr,
        admin_addr,
        client_toml,
        doors: vec![admin_door, data_door],
        broker,
        _judges: judges,
        _home: home,
    })
}

/// A partition holds a file open; the usual soft limit of 1,024 is for programs that do not know.
fn take_all_file_handles() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, "the limit of open files stays as it is; it bounds the partitions");
    }
}

/// Tries again for a while where a broker that was just killed may still hold what is needed.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T, ServeError>) -> Result<T, ServeError> {
    let deadline = tokio::time::Instant::now() + PREDECESSOR_TIMEOUT;
    loop {
        match attempt().await {
            Err(error) if error.is_busy() && tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(PREDECESSOR_POLL).await;
            }
            done => return done,
        }
    }
}

impl ServeError {
    /// Whether another process has the folder or the port.
    fn is_busy(&self) -> bool {
        match self {
            Self::Home(HomeError::InUse { .. }) => true,
            Self::Listen(ListenError::Bind { source, .. }) | Self::Admin { source, .. } => {
                source.kind() == std::io::ErrorKind::AddrInUse
            }
            _ => false,
        }
    }
}

impl Running {
    /// Closes the doors, answers what was taken, saves the checkpoints, closes the logs.
    pub async fn stop(mut self) {
        // Partitions first: whoever waits for an answer at a door gets it.
        self.broker.stop().await;
        for door in self.doors.drain(..) {
            let _ = door.await;
        }
        self.broker.close().await;
    }
}

/// The threads on which plugins run: their own, so that a slow rule does not keep packets waiting.
struct Judges(Option<tokio::runtime::Runtime>);

impl Judges {
    fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.max(JUDGES_MIN))
            .thread_name("weir-judge")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> tokio::runtime::Handle {
        self.0.as_ref().expect("there until it is dropped").handle().clone()
    }
}

impl Drop for Judges {
    fn drop(&mut self) {
        // A runtime may not be waited for where another is at work, and its partitions are closed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Loopback is safe with the self-signed certificate and the token file; anything else needs a
/// certificate that clients can verify, and the admin API does not leave the machine at all.
fn refuse_to_be_exposed(options: &ServeOptions) -> Result<(), ServeError> {
    if !options.admin.ip().is_loopback() {
        return Err(ServeError::Config(format!(
            "the admin API speaks plain HTTP and stays on loopback; {} is not. Use 127.0.0.1 and a tunnel",
            options.admin
        )));
    }
    if !options.listen.ip().is_loopback() && options.certificate.is_none() {
        return Err(ServeError::Config(format!(
            "{} is not loopback: name a certificate and its private_key in weir.toml (--config) to listen there",
            options.listen
        )));
    }
    Ok(())
}
