//! Builds the rules of `plugins/` that are written in Rust, and proves that the committed
//! components are what their sources say.
//!
//! A guest is a folder `plugins/NAME` with a Cargo.toml whose package is called NAME and makes a
//! cdylib; `plugins/parts` is a library that guests share. It becomes two committed files, so that
//! nobody needs a guest toolchain to run or test weir:
//!
//! ```text
//! plugins/NAME/NAME.wasm            the component
//! plugins/NAME/NAME.toolchain.txt   what it was made with and from, and how to make it again
//! ```
//!
//! Promises: the same toolchain and sources give the same bytes, wherever the work tree lies. A
//! check changes nothing under `plugins/`; it leaves what it built as `target/guests/NAME.wasm`,
//! for tests that put one beside the other. Without a toolchain a check still fails where sources
//! changed after their component was made.
//! Not here: rules in other languages; those are `languages`.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::WorldItem;

use crate::root;

const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler with the library's source, for machines that cannot reach rustup's server.
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

/// Where Debian's library source lies; std is then built with the guest.
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library";

/// Cargo hashes the path of a package that lies outside the guest's own workspace, as sdk/plugin
/// does, into its symbols and so into the bytes. Under this link every tree has one path.
const BUILD_ROOT: &str = "/tmp/weir-guests";

/// Crates that seed their maps by chance find a constant in the guest instead (json-schema's
/// `seed.rs`): a component that imported entropy would be refused.
const NO_ENTROPY: [&str; 2] = ["--cfg", "getrandom_backend=\"custom\""];

/// All that a rule may import.
const CONTRACT: &str = "weir:plugin/";

/// Builds the guests; with `check`, changes nothing and fails where a component is not current.
pub fn run(check: bool) -> Result<(), String> {
    let guests = guests(&root().join("plugins"))?;
    let toolchain = match Toolchain::find() {
        None if may_install() => {
            apt_install(&DEBIAN_PACKAGES);
            Toolchain::find()
        }
        found => found,
    };
    match toolchain {
        Some(toolchain) => {
            println!("guest toolchain: {}", toolchain.record().replace('\n', "; "));
            let _link = BuildRoot::link()?;
            guests.iter().try_for_each(|guest| guest.build(&toolchain, check))
        }
        None if check => {
            println!("skipped: no guest toolchain ({})", how_to_get_one());
            guests.iter().try_for_each(Guest::check_sources)
        }
        None => Err(format!("there is no toolchain for guests here; {}", how_to_get_one())),
    }
}

/// Runs the guests' own tests, natively, against the SDK's host.
pub fn test() -> Result<(), String> {
    cargo(&["test", "--workspace", "--quiet"])
}

/// Whether the guests' sources are formatted.
pub fn format() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])
}

/// What clippy says of the guests.
pub fn clippy() -> Result<(), String> {
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
}

/// Runs cargo in the guests' workspace, with the toolchain of the host.
fn cargo(arguments: &[&str]) -> Result<(), String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let told = format!("in plugins, cargo {}", arguments.join(" "));
    match Command::new(program).args(arguments).current_dir(root().join("plugins")).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{told}: {status}")),
        Err(e) => Err(format!("{told}: cannot be started: {e}")),
    }
}

fn how_to_get_one() -> String {
    format!(
        "`rustup target add {TARGET}`, or on Debian `apt-get install {}`",
        DEBIAN_PACKAGES.join(" ")
    )
}

/// A rustc and its cargo that can build for [`TARGET`].
struct Toolchain {
    rustc: OsString,
    cargo: OsString,
    /// What rustc says of itself.
    version: String,
    /// Set where std comes as source: the linker to use and what it says of itself.
    from_source: Option<(PathBuf, String)>,
}

impl Toolchain {
    /// The one on the path if it has the target's std, else Debian's.
    fn find() -> Option<Toolchain> {
        Toolchain::with_std().or_else(Toolchain::debian)
    }

    fn with_std() -> Option<Toolchain> {
        let libraries = said("rustc", &["--print", "target-libdir", "--target", TARGET])?;
        let mut names = fs::read_dir(libraries).ok()?.flatten().map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with("libstd-")).then_some(())?;
        let version = said("rustc", &["--version"])?;
        Some(Toolchain { rustc: "rustc".into(), cargo: "cargo".into(), version, from_source: None })
    }

    fn debian() -> Option<Toolchain> {
        let (rustc, cargo) = ("/usr/bin/rustc", "/usr/bin/cargo");
        let complete =
            Path::new(DEBIAN_STD).join("Cargo.toml").exists() && Path::new(cargo).exists();
        let version = complete.then(|| said(rustc, &["--version"]))??;
        // /usr/bin/rust-lld is a link into lld-22, which rustc-web does not depend on.
        let sysroot = said("rustc", &["--print", "sysroot"]).unwrap_or_default();
        let bundled = Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
        let linker =
            [PathBuf::from("/usr/bin/rust-lld"), bundled].into_iter().find(|path| path.exists())?;
        let linker_version = said(&linker, &["-flavor", "wasm", "--version"])?;
        let from_source = Some((linker, linker_version));
        Some(Toolchain { rustc: rustc.into(), cargo: cargo.into(), version, from_source })
    }

    /// All that decides the bytes. Two toolchains with one record give one component.
    fn record(&self) -> String {
        let (std, linker) = match &self.from_source {
            None => ("as it comes with rustc", "as it comes with rustc"),
            Some((_, linker)) => ("built from rustc's source", linker.as_str()),
        };
        format!("rustc: {}\nstd: {std}\nlinker: {linker}", self.version)
    }

    /// Builds the guest called `name` under [`BUILD_ROOT`] and gives its core module.
    fn core_module(&self, name: &str) -> Result<Vec<u8>, String> {
        let folder = root().join("plugins").join(name);
        let manifest = Path::new(BUILD_ROOT).join("plugins").join(name).join("Cargo.toml");
        // One for all, as they share std and most of their crates.
        let out = root().join("plugins/target/guests");
        let mut cargo = Command::new(&self.cargo);
        // Whatever this process was started with must not reach the bytes.
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy();
            if ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "RUST", "LD_LIBRARY_PATH"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
                && !text.starts_with("RUSTUP_")
            {
                cargo.env_remove(&variable);
            }
        }
        cargo
            .env("RUSTC", &self.rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", self.path_flags()?.join("\u{1f}"))
            .args(["build", "--locked", "--quiet", "--release", "--lib", "--target", TARGET])
            .arg("--target-dir")
            .arg(&out)
            .arg("--manifest-path")
            .arg(manifest)
            .current_dir(folder);
        if let Some((linker, _)) = &self.from_source {
            cargo
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
                .arg("-Zbuild-std=std,panic_abort");
        }
        let status =
            cargo.status().map_err(|e| format!("cargo cannot be started for {name}: {e}"))?;
        if !status.success() {
            return Err(format!("plugins/{name} does not build: {status}"));
        }
        read(&out.join(TARGET).join("release").join(name.replace('-', "_")).with_extension("wasm"))
    }

    /// Panics name their source files: without the folders of this machine.
    fn path_flags(&self) -> Result<Vec<String>, String> {
        let home = std::env::var("CARGO_HOME")
            .or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"))
            .map_err(|_| "neither CARGO_HOME nor HOME is set; set one, crates are fetched there")?;
        let mut flags: Vec<String> = [Path::new(BUILD_ROOT), &root()]
            .map(|root| format!("--remap-path-prefix={}=weir", root.display()))
            .into();
        // The folder of a registry is called by a hash of its address.
        for registry in
            fs::read_dir(Path::new(&home).join("registry/src")).into_iter().flatten().flatten()
        {
            flags.push(format!("--remap-path-prefix={}=crates", registry.path().display()));
        }
        if self.from_source.is_some() {
            flags.push(format!("--remap-path-prefix={DEBIAN_STD}=std"));
        }
        flags.extend(NO_ENTROPY.map(str::to_owned));
        Ok(flags)
    }
}

/// The link from [`BUILD_ROOT`] to this tree, for as long as it lives.
struct BuildRoot;

impl BuildRoot {
    fn link() -> Result<BuildRoot, String> {
        let (link, root) = (Path::new(BUILD_ROOT), root());
        match fs::read_link(link) {
            Ok(tree) if tree == root => return Ok(BuildRoot),
            // Left behind by a build that was killed, in a tree that is gone.
            Ok(tree) if !tree.exists() => {
                fs::remove_file(link).map_err(|e| format!("{BUILD_ROOT}: {e}"))?
            }
            Ok(tree) => {
                let tree = tree.display();
                return Err(format!(
                    "the guests of {tree} are being built; wait, or remove {BUILD_ROOT} if not"
                ));
            }
            Err(_) => {}
        }
        std::os::unix::fs::symlink(root, link)
            .map_err(|e| format!("{BUILD_ROOT} cannot be linked to this tree: {e}"))?;
        Ok(BuildRoot)
    }
}

impl Drop for BuildRoot {
    fn drop(&mut self) {
        // If it stays, the next build in this tree takes it over.
        let _ = fs::remove_file(BUILD_ROOT);
    }
}

/// A rule in `plugins/`.
struct Guest {
    name: String,
    folder: PathBuf,
}

/// Every folder of `plugins` whose package becomes a component, in the order of names.
fn guests(plugins: &Path) -> Result<Vec<Guest>, String> {
    let entries = fs::read_dir(plugins).map_err(|e| format!("{}: {e}", plugins.display()))?;
    let mut guests: Vec<Guest> = entries
        .flatten()
        .filter(|entry| {
            fs::read_to_string(entry.path().join("Cargo.toml"))
                .is_ok_and(|manifest| manifest.contains("\"cdylib\""))
        })
        .map(|entry| Guest {
            name: entry.file_name().to_string_lossy().into_owned(),
            folder: entry.path(),
        })
        .collect();
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}

impl Guest {
    fn build(&self, toolchain: &Toolchain, check: bool) -> Result<(), String> {
        let Guest { name, .. } = self;
        let component = component(&toolchain.core_module(name)?)
            .map_err(|why| format!("plugins/{name} is no component of ours: {why}"))?;
        if check { self.compare(toolchain, &component) } else { self.write(toolchain, &component) }
    }

    fn write(&self, toolchain: &Toolchain, component: &[u8]) -> Result<(), String> {
        let record = format!(
            "{}\ncomponent sha256: {}\nsources sha256: {}\nrebuild: cargo xtask guests, after {}\n",
            toolchain.record(),
            hex(component),
            self.sources()?,
            how_to_get_one(),
        );
        write(&self.component_file(), component)?;
        write(&self.record_file(), record.as_bytes())?;
        println!("{}: {} bytes", self.component_file().display(), component.len());
        Ok(())
    }

    fn compare(&self, toolchain: &Toolchain, rebuilt: &[u8]) -> Result<(), String> {
        let name = &self.name;
        let at = root().join("target/guests").join(name).with_extension("wasm");
        write(&at, rebuilt)?;
        let record = self.record()?;
        if !record.starts_with(&format!("{}\n", toolchain.record())) {
            // Another compiler may write other bytes for the same rule.
            println!(
                "{name}: made with another toolchain than this one's; compare what {} says with it",
                at.display()
            );
            return self.check_sources();
        }
        if read(&self.component_file())? != rebuilt {
            return Err(format!(
                "plugins/{name}/{name}.wasm is not what its sources give; run `cargo xtask guests`"
            ));
        }
        println!("{name}: the committed component is what its sources give, byte for byte");
        // A comment changes no byte, and the record must tell of it all the same: whoever has no
        // toolchain knows the sources by their digest only.
        self.check_sources()
    }

    /// What can be said without a compiler: this component was made from these sources.
    fn check_sources(&self) -> Result<(), String> {
        let name = &self.name;
        let record = self.record()?;
        for (what, line) in [
            (
                "the component is not the one",
                format!("component sha256: {}", hex(&read(&self.component_file())?)),
            ),
            ("its sources are not those", format!("sources sha256: {}", self.sources()?)),
        ] {
            if !record.lines().any(|recorded| recorded == line) {
                return Err(format!(
                    "plugins/{name}: {what} that {name}.toolchain.txt tells of; run `cargo xtask guests` and commit both files"
                ));
            }
        }
        Ok(())
    }

    fn component_file(&self) -> PathBuf {
        self.folder.join(&self.name).with_extension("wasm")
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join(&self.name).with_extension("toolchain.txt")
    }

    fn record(&self) -> Result<String, String> {
        String::from_utf8(read(&self.record_file())?)
            .map_err(|e| format!("{}: {e}", self.record_file().display()))
    }

    /// The digest of all files that a component is made from, with their names.
    fn sources(&self) -> Result<String, String> {
        let root = root();
        let mut files = Vec::new();
        let plugins = root.join("plugins");
        for folder in
            [self.folder.join("src"), plugins.join("parts/src"), root.join("sdk/plugin/src")]
        {
            collect(&folder, &mut files)?;
        }
        // The contract itself: what is said about it, and its earlier versions, make no byte.
        let mut contract = Vec::new();
        collect(&root.join("wit"), &mut contract)?;
        contract.retain(|file| {
            file.extension().is_some_and(|ext| ext == "wit")
                && file.parent() == Some(root.join("wit").as_path())
        });
        files.append(&mut contract);
        let manifests = [
            self.folder.join("Cargo.toml"),
            plugins.join("parts/Cargo.toml"),
            plugins.join("Cargo.toml"),
            plugins.join("Cargo.lock"),
            root.join("sdk/plugin/Cargo.toml"),
        ];
        files.extend(manifests);
        files.sort();
        let mut list = String::new();
        for file in files {
            let name = file.strip_prefix(&root).unwrap_or(&file).display();
            let _ = writeln!(list, "{} {name}", hex(&read(&file)?));
        }
        Ok(hex(list.as_bytes()))
    }
}

/// Wraps a core module as a component that imports nothing but the contract.
fn component(core: &[u8]) -> Result<Vec<u8>, String> {
    let bytes = ComponentEncoder::default()
        .validate(true)
        .module(core)
        .and_then(|encoder| encoder.encode())
        .map_err(|e| format!("{e:#}"))?;
    let DecodedWasm::Component(resolve, world) =
        wit_component::decode(&bytes).map_err(|e| format!("{e:#}"))?
    else {
        return Err("what was built is a WIT package".into());
    };
    let foreign: Vec<String> = resolve.worlds[world]
        .imports
        .iter()
        // Types that the world names come from an interface that stands in the list itself.
        .filter(|(_, item)| !matches!(item, WorldItem::Type { .. }))
        .map(|(key, _)| resolve.name_world_key(key))
        .filter(|name| !name.starts_with(CONTRACT))
        .collect();
    if foreign.is_empty() { Ok(bytes) } else { Err(format!("it imports {}", foreign.join(", "))) }
}

/// In CI, as root, on Debian: nobody else's machine changes unasked.
pub fn may_install() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
        && fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
        && Path::new("/etc/debian_version").exists()
}

/// Installs Debian's packages if that can be done; says so if not.
pub fn apt_install(packages: &[&str]) {
    println!("no toolchain; installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-qq")
            .args(arguments)
            .status()
            .is_ok_and(|s| s.success())
    };
    // A release without these packages is no reason to fail: the check then says what it skipped.
    if !(apt(&["update"]) && apt(&[["install", "-y"].as_slice(), packages].concat())) {
        println!("apt-get could not install them");
    }
}

/// The trimmed output of a command that succeeds.
fn said(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

pub fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|e| format!("{}: {e}; run `cargo xtask guests`", file.display()))
}

pub fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    let folder = file.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, bytes))
        .map_err(|e| format!("{}: {e}", file.display()))
}
