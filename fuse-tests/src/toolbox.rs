//! The programs of others: judges and peers, built once into the target directory, never into the repository.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::command;

/// A program from the Rust registry, at the version whose verdicts are checked in here.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    name: &'static str,
    /// What the package is called.
    package: &'static str,
    version: &'static str,
    /// More words for cargo.
    options: &'static [&'static str],
}

/// POSIX conformance, operation by operation.
pub const PJDFSTEST: Tool = Tool::of("pjdfstest", "0.2.2");
/// Random reads, writes, truncates, holes and maps of one file against a model.
pub const FSX: Tool = Tool::of("fsx", "0.3.2");
/// Backups in restic's format, in Rust: a peer of `put` and `get`. Without its doors, which take as long to build as the rest.
pub const RUSTIC: Tool =
    Tool { name: "rustic", package: "rustic-rs", version: "0.11.4", options: &["--no-default-features"] };

impl Tool {
    const fn of(name: &'static str, version: &'static str) -> Tool {
        Tool { name, package: name, version, options: &[] }
    }

    /// The path of the program; builds it the first time. An `Err` is the reason why it can't be had.
    pub fn path(self) -> Result<PathBuf, String> {
        let root = folder();
        let program = root.join("bin").join(self.name);
        // Two test processes may want it at once.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::fs::create_dir_all(&root).map_err(|e| format!("can't create {}: {e}", root.display()))?;
        let lock = File::create(root.join("lock")).map_err(|e| format!("can't lock {}: {e}", root.display()))?;
        lock.lock().map_err(|e| format!("can't lock {}: {e}", root.display()))?;
        if !self.is_installed(&root) {
            self.install(&root)?;
        }
        Ok(program)
    }

    fn is_installed(self, root: &Path) -> bool {
        let ledger = std::fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
        ledger.contains(&format!("\"{} {} ", self.package, self.version)) && root.join("bin").join(self.name).is_file()
    }

    fn install(self, root: &Path) -> Result<(), String> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["install", "--quiet", "--locked", self.package, "--version", self.version, "--root"]).arg(root);
        cargo.args(self.options);
        cargo.env("CARGO_TARGET_DIR", root.join("build"));
        let output = command::run_for(&mut cargo, std::time::Duration::from_secs(1200));
        // The program is all that is needed of it.
        let _ = std::fs::remove_dir_all(root.join("build"));
        match output.status.success() {
            true => Ok(()),
            false => {
                Err(format!("cargo install {} {} failed\n{}", self.package, self.version, command::transcript(&output)))
            }
        }
    }
}

/// Beside the built binary, or where `CAIRN_TOOLS` says.
fn folder() -> PathBuf {
    if let Some(path) = std::env::var_os("CAIRN_TOOLS") {
        return PathBuf::from(path);
    }
    let own = std::env::current_exe().expect("the path of this program");
    let release = own.ancestors().find(|path| path.ends_with("release")).and_then(Path::parent);
    release.map_or_else(std::env::temp_dir, Path::to_path_buf).join("tools")
}
