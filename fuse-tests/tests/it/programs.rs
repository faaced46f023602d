//! Programs that people use every day. All of them run on ext4 too.

use std::path::{Path, PathBuf};

use cairn_fuse_tests::tree::assert_same;
use cairn_fuse_tests::{Ground, Random, Scale, Scratch, command, figure, skip};

/// Leaves the test where a program is missing, naming the package's program.
macro_rules! needs {
    ($($program:literal),+) => {
        $(if !command::exists($program) {
            skip!("{} is not installed", $program);
        })+
    };
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is one up").to_path_buf()
}

/// A tree with everything that a copy can lose.
fn difficult_tree(root: &Path) {
    command::shell(
        root,
        "mkdir -p a/b/c empty; echo one > a/one; echo two > a/b/two; ln a/one a/b/c/hard; ln -s ../one a/b/soft
         ln -s /nowhere/at/all dangling; mkfifo pipe; chmod 4755 a/one; chmod 1777 empty; chmod 600 a/b/two
         truncate -s 40M sparse; echo end | dd of=sparse bs=1 seek=30000000 conv=notrunc status=none
         touch -d '1999-12-31 23:59:59.123456789' a/one; touch -h -d 2001-01-01 dangling
         touch \"$(printf 'b\\377ytes')\" 'with space' $'new\\nline'
         setfattr -n user.colour -v blue a/b/two; setfattr -n user.empty a/b; setfacl -m u:1234:rwx a/b/two
         setfacl -d -m g:77:rx a/b; touch -d 2005-05-05 a/b a",
    );
    let mut random = Random::new(21);
    for (name, len) in [("small", 1_000), ("inline", 2_048), ("chunk", 262_144), ("large", 5_000_001)] {
        std::fs::write(root.join(name), random.bytes(len)).expect("write");
    }
}

#[test]
fn git_clones_checks_and_works() {
    needs!("git");
    let workspace = workspace();
    if !workspace.join(".git").exists() {
        skip!("this tree is no git repository");
    }
    let ground = Ground::new();
    let git = "git -c safe.directory=* -c user.name=T -c user.email=t@example.org -c protocol.file.allow=always";
    let source = workspace.display();
    ground.shell(&format!(
        "{git} clone -q --no-local 'file://{source}' clone; cd clone
         {git} fsck --full --strict; {git} gc -q --prune=now; {git} fsck --full
         [ -z \"$({git} status --porcelain)\" ]
         for i in 1 2 3; do echo $i > file$i; {git} add file$i; {git} commit -q -m $i; done
         {git} checkout -q -b side HEAD~2; echo side > side; {git} add side; {git} commit -q -m side
         {git} merge -q --no-edit -m merged -; {git} stash list; [ -f file3 ]
         {git} worktree add -q ../tree HEAD~1; {git} fsck --full"
    ));
    let head = |dir: &str| ground.shell(&format!("{git} -C {dir} rev-parse origin/HEAD"));
    let there = ground.shell(&format!("{git} -C '{source}' rev-parse HEAD"));
    assert_eq!(head("clone"), there);
}

#[test]
fn cargo_builds_and_runs_a_crate() {
    needs!("cargo");
    let ground = Ground::new();
    ground.shell(
        "mkdir -p crate/src crate/tests
         printf '[package]\\nname = \"c\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[workspace]\\n' > crate/Cargo.toml
         for i in $(seq 20); do echo \"pub fn f$i(x: u64) -> u64 { x.wrapping_mul($i).rotate_left($i) }\" > crate/src/m$i.rs; done
         (for i in $(seq 20); do echo \"pub mod m$i;\"; done) > crate/src/lib.rs
         printf 'fn main() { println!(\"{}\", c::m3::f3(c::m7::f7(1))); }' > crate/src/main.rs
         printf '#[test] fn holds() { assert_eq!(c::m1::f1(1), 2); }' > crate/tests/t.rs",
    );
    let cargo = "unset CARGO_TARGET_DIR RUSTFLAGS; cargo --offline -q";
    let first = ground
        .shell(&format!("cd crate; {cargo} run; {cargo} test >/dev/null; echo '// more' >> src/m3.rs; {cargo} run"));
    let expected = (1u64.wrapping_mul(7).rotate_left(7)).wrapping_mul(3).rotate_left(3);
    assert_eq!(first, format!("{expected}\n{expected}\n"));
    // What was just built is fresh: the times of files are right.
    assert!(
        !ground
            .shell("cd crate; unset CARGO_TARGET_DIR RUSTFLAGS; cargo --offline build -v 2>&1")
            .contains("Compiling")
    );
}

#[test]
fn make_and_the_c_compiler_build_in_parallel() {
    needs!("make", "cc");
    let ground = Ground::new();
    ground.shell(
        "for i in $(seq 30); do echo \"int f$i(int x) { return x + $i; }\" > f$i.c; done
         (for i in $(seq 30); do echo \"int f$i(int);\"; done; echo 'int main(void) { return f1(f30(11)) - 42; }') > main.c
         printf 'prog: main.o $(patsubst %%.c,%%.o,$(wildcard f*.c))\\n\\tcc -o $@ $^\\n%%.o: %%.c\\n\\tcc -c -o $@ $<\\n' > Makefile
         make -s -j4; ./prog; make -q",
    );
}

fn sqlite(ground: &Ground, mode: &str, transactions: u32) {
    let started = std::time::Instant::now();
    ground.python(&format!(
        "import sqlite3
db = sqlite3.connect('{mode}.db', isolation_level=None)
assert db.execute('PRAGMA journal_mode={mode}').fetchone()[0] == '{mode}'
db.execute('PRAGMA synchronous=FULL')
db.execute('CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data BLOB)')
db.execute('CREATE INDEX i ON t (name)')
for n in range({transactions}):
    db.execute('BEGIN')
    db.execute('INSERT INTO t (name, data) VALUES (?, ?)', (f'name {{n * 7919 % 10007}}', bytes([n % 256]) * (n % 900)))
    if n % 3 == 0: db.execute('UPDATE t SET data = ? WHERE id = ?', (b'updated', n // 2 + 1))
    if n % 11 == 0: db.execute('DELETE FROM t WHERE id = ?', (n // 3 + 1,))
    db.execute('ROLLBACK' if n % 17 == 5 else 'COMMIT')
assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
db.execute('VACUUM')
db.close()
"
    ));
    let check = ground.shell(&format!("sqlite3 {mode}.db 'PRAGMA integrity_check; SELECT count(*) > 0 FROM t'"));
    assert_eq!(check, "ok\n1\n");
    figure!(
        "sqlite {mode}: {transactions} transactions, {:.0}/s, integrity ok",
        f64::from(transactions) / started.elapsed().as_secs_f64()
    );
}

#[test]
fn sqlite_keeps_its_integrity_with_a_write_ahead_log() {
    needs!("python3", "sqlite3");
    sqlite(&Ground::new(), "wal", Scale::pick(1_000, 10_000));
}

#[test]
fn sqlite_keeps_its_integrity_with_a_rollback_journal() {
    needs!("python3", "sqlite3");
    sqlite(&Ground::new(), "delete", Scale::pick(1_000, 10_000));
}

#[test]
fn sqlite_recovers_when_its_process_is_killed() {
    needs!("python3", "sqlite3");
    let ground = Ground::new();
    for mode in ["wal", "delete"] {
        for round in 0..3 {
            ground.shell(&format!(
                "python3 -c \"
import sqlite3
db = sqlite3.connect('{mode}.db', isolation_level=None)
db.execute('PRAGMA journal_mode={mode}')
db.execute('CREATE TABLE IF NOT EXISTS t (x)')
while True: db.execute('INSERT INTO t VALUES (randomblob(500))')
\" & worker=$!; sleep 0.{}; kill -9 $worker; wait $worker || true",
                3 + round * 2
            ));
            assert_eq!(ground.shell(&format!("sqlite3 {mode}.db 'PRAGMA integrity_check'")), "ok\n");
        }
    }
}

#[test]
fn rsync_copies_there_and_back_without_a_difference() {
    needs!("rsync", "setfacl", "setfattr");
    let (ground, outside) = (Ground::new(), Scratch::new());
    let source = outside.path().join("source");
    std::fs::create_dir(&source).expect("mkdir");
    difficult_tree(&source);
    for tree in Scale::pick(vec!["/usr/include/linux"], vec!["/usr/include", "/usr/share/doc"]) {
        if Path::new(tree).is_dir() {
            command::shell(&source, &format!("cp -a {tree} ."));
        }
    }
    let copy = |from: &Path, to: &Path| {
        let (from, to) = (from.display(), to.display());
        command::shell(outside.path(), &format!("rsync -aHAX --sparse '{from}/' '{to}/'"));
        let differences = command::shell(
            outside.path(),
            &format!("rsync -aHAXn --itemize-changes --checksum --delete '{from}/' '{to}/'"),
        );
        assert_eq!(differences, "", "{from} and {to} differ");
    };
    copy(&source, &ground.path("there"));
    copy(&ground.path("there"), &outside.path().join("back"));
    assert_same(&source, &ground.path("there"));
    assert_same(&source, &outside.path().join("back"));
}

#[test]
fn tar_keeps_attributes_and_hard_links() {
    needs!("tar", "setfacl", "setfattr");
    let ground = Ground::new();
    std::fs::create_dir(ground.path("source")).expect("mkdir");
    difficult_tree(&ground.path("source"));
    ground.shell(
        "tar --xattrs --acls --sparse -C source -cf t.tar .; mkdir copy
         tar --xattrs --acls --sparse -C copy -xpf t.tar; tar --xattrs --acls -C copy -df t.tar",
    );
    assert_same(&ground.path("source"), &ground.path("copy"));
    let acl = |dir: &str| ground.shell(&format!("cd {dir}; getfacl -Rnp ."));
    assert_eq!(acl("source"), acl("copy"));
}

#[test]
fn cp_mv_and_find_see_the_same_tree() {
    needs!("setfacl", "setfattr");
    let ground = Ground::new();
    std::fs::create_dir(ground.path("source")).expect("mkdir");
    difficult_tree(&ground.path("source"));
    ground.shell(
        "cp -a source copy; mv source moved; [ $(find moved | wc -l) = $(find copy | wc -l) ]; du -s copy >/dev/null",
    );
    assert_same(&ground.path("moved"), &ground.path("copy"));
}

#[test]
fn an_editors_save_leaves_the_old_or_the_new_text() {
    needs!("python3", "sed");
    let ground = Ground::new();
    // vim: write beside, sync, rename over; emacs: keep the old one as a link; sed -i: a temporary file.
    ground.python(
        "import os
open('text', 'w').write('version 0')
os.chmod('text', 0o640)
for n in range(1, 101):
    with open('text.swp', 'x') as f:
        os.fchmod(f.fileno(), 0o640)
        f.write(f'version {n}'); f.flush(); os.fsync(f.fileno())
    if n % 2:
        if os.path.exists('text~'): os.unlink('text~')
        os.link('text', 'text~')
    os.rename('text.swp', 'text')
    d = os.open('.', os.O_RDONLY); os.fsync(d); os.close(d)
    assert open('text').read() == f'version {n}'
    if n % 2: assert open('text~').read() == f'version {n - 1}'
",
    );
    ground.shell("sed -i s/version/edition/ text; [ \"$(cat text)\" = 'edition 100' ]; [ $(stat -c %a text) = 640 ]");
    assert_eq!(ground.shell("ls"), "text\ntext~\n");
}
