//! What counts depend on beside the code: who compiled it, and what it runs on.

use std::process::Command;

/// Where counts were made. valgrind shows programs a processor of its own, in which of the real one
/// only the family and what it has of AVX is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The compiler.
    pub rustc: String,
    /// The C library: its allocator and its copying are counted.
    pub libc: String,
    /// Who counts.
    pub valgrind: String,
    /// What is counted on.
    pub cpu: String,
}

impl Place {
    /// This machine.
    pub fn here() -> Self {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        let avx = ["avx2", "avx"].into_iter().find(|flag| has(flag)).unwrap_or("without avx");
        Self {
            rustc: said("rustc", &["--version"]),
            libc: said("getconf", &["GNU_LIBC_VERSION"]),
            valgrind: said("valgrind", &["--version"]),
            cpu: format!("{} {avx}", std::env::consts::ARCH),
        }
    }

    /// In what another place differs from this one, in words.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            (&self.rustc, &other.rustc),
            (&self.libc, &other.libc),
            (&self.valgrind, &other.valgrind),
            (&self.cpu, &other.cpu),
        ];
        let differ = pairs.into_iter().filter(|(kept, here)| kept != here);
        differ.map(|(kept, here)| format!("{here}, and not {kept}")).collect()
    }
}

fn said(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| format!("an unknown {command}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_compiler_is_another_place() {
        let place = |rustc: &str| Place {
            rustc: rustc.to_owned(),
            libc: "glibc 2.36".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
            cpu: "x86_64 avx2".to_owned(),
        };
        let (old, new) = (place("rustc 1.95.0"), place("rustc 1.97.1"));
        assert_eq!(old.differences(&new), ["rustc 1.97.1, and not rustc 1.95.0"]);
        assert!(old.differences(&old).is_empty());
    }
}
