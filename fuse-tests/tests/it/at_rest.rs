//! What a thief of the disk finds.

use std::io::Read;
use std::path::{Path, PathBuf};

use cairn_fuse_tests::{Node, Random, Scale, figure};

/// Words that occur nowhere else.
const CANARY_NAME: &str = "zxq-canary-name-7f3b";
const CANARY_TEXT: &str = "Zxq canary text that nobody must find 91d2";
const CANARY_XATTR: &str = "zxq-canary-attribute-55aa";
const CANARY_LABEL: &str = "zxq-canary-label-c0de";
const CANARY_TARGET: &str = "zxq-canary-target-ee11";

/// Every file below `root` but those on other filesystems: the mount shows what it hides.
fn files(root: &Path, skip: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
            if kind.is_dir() && path != skip {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    let (first, needle) = (needle.as_bytes()[0], needle.as_bytes());
    let starts = haystack.iter().enumerate().filter(|(_, byte)| **byte == first).map(|(at, _)| at);
    starts.into_iter().any(|at| haystack[at..].starts_with(needle))
}

fn plant(node: &Node) {
    let folder = node.mount().join(format!("{CANARY_NAME}-folder"));
    std::fs::create_dir(&folder).expect("mkdir");
    // Inline, in one chunk, in many, and repeated so that it would survive compression in the clear.
    for (index, repeats) in [1, 30, 3_000, 100_000].into_iter().enumerate() {
        std::fs::write(folder.join(format!("{CANARY_NAME}-{index}")), CANARY_TEXT.repeat(repeats)).expect("write");
    }
    let file = folder.join(format!("{CANARY_NAME}-0"));
    rustix::fs::setxattr(
        &file,
        format!("user.{CANARY_XATTR}").as_str(),
        CANARY_XATTR.as_bytes(),
        rustix::fs::XattrFlags::empty(),
    )
    .expect("setxattr");
    std::os::unix::fs::symlink(CANARY_TARGET, folder.join("link")).expect("symlink");
    std::fs::rename(&file, folder.join(format!("{CANARY_NAME}-renamed"))).expect("rename");
    std::fs::write(folder.join(format!("{CANARY_NAME}-gone")), CANARY_TEXT).expect("write");
    std::fs::remove_file(folder.join(format!("{CANARY_NAME}-gone"))).expect("remove");
    std::fs::write(node.outside().join("put-me"), CANARY_TEXT).expect("write");
    node.say(&["put", &node.outside().join("put-me").display().to_string(), &format!("/{CANARY_NAME}-put")]);
    node.say(&["snapshot", CANARY_LABEL]);
    node.say(&["why", &format!("/{CANARY_NAME}-put")]);
}

#[test]
fn names_and_contents_are_found_nowhere_on_the_disk() {
    let mut node = Node::start();
    plant(&node);
    let search = |node: &Node, moment: &str| {
        let files = files(&node.home(), &node.mount());
        assert!(files.len() > 3, "{moment}: too few files to search: {files:?}");
        for path in &files {
            let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            for canary in [CANARY_NAME, CANARY_TEXT, CANARY_XATTR, CANARY_LABEL, CANARY_TARGET] {
                let shown = path.to_string_lossy();
                assert!(!contains(&bytes, canary) && !shown.contains(canary), "{moment}: `{canary}` is in {shown}");
            }
        }
        files.len()
    };
    let running = search(&node, "running");
    node.down();
    let stopped = search(&node, "after the end");
    assert!(!node.log().contains("zxq-canary"), "the log names a file\n{}", node.log());
    figure!("canaries: 0 found in {running} files while running and {stopped} after the end");
}

#[test]
fn a_segments_bytes_pass_for_random() {
    let mut node = Node::start();
    // As far from random as can be: text, zeros, and the same again.
    let size = Scale::pick(24 << 20, 200 << 20);
    let text: Vec<u8> = (0..size).map(|i| b"the quick brown fox jumps over the lazy dog\n"[(i * 7 / 5) % 44]).collect();
    std::fs::write(node.mount().join("text"), &text).expect("write");
    std::fs::write(node.mount().join("random"), Random::new(1).bytes(size)).expect("write");
    node.down();
    let largest = files(&node.log_folder(), Path::new(""))
        .into_iter()
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |m| m.len()));
    let mut bytes = Vec::new();
    let segment = largest.expect("a segment");
    std::fs::File::open(&segment).expect("open").read_to_end(&mut bytes).expect("read");
    while bytes.last() == Some(&0) {
        // Room that was allocated ahead and never written.
        bytes.pop();
    }
    assert!(bytes.len() > size / 2, "{} bytes in {}", bytes.len(), segment.display());
    let (chi_square, entropy) = (chi_square(&bytes), entropy(&bytes));
    figure!(
        "a segment of {} MiB: chi-square {chi_square:.0} with 255 degrees of freedom, {entropy:.6} bits per byte",
        bytes.len() >> 20
    );
    // Records begin with a header that is not random: some 100 bytes in 100,000. They are allowed to show, contents are not.
    assert!(entropy > 7.99, "{entropy} bits per byte");
    assert!(chi_square / (bytes.len() as f64) < 0.001, "chi-square {chi_square} of {} bytes", bytes.len());
    let pure = longest_stretch_without_headers(&bytes);
    let chi_square = self::chi_square(pure);
    // Beyond these bounds lies one of a million random stretches at either side.
    assert!((150.0..=380.0).contains(&chi_square), "chi-square {chi_square} of {} sealed bytes", pure.len());
}

/// The inside of one sealed block: far from the headers of its neighbours.
fn longest_stretch_without_headers(bytes: &[u8]) -> &[u8] {
    // Chunks of random bytes are at least 64 KiB: of 48 KiB windows one in four lies within a block. The most even counts.
    let windows = bytes.chunks(48 << 10).filter(|window| window.len() == 48 << 10);
    windows.min_by(|a, b| chi_square(a).total_cmp(&chi_square(b))).unwrap_or(bytes)
}

fn counts(bytes: &[u8]) -> [u64; 256] {
    let mut counts = [0; 256];
    bytes.iter().for_each(|byte| counts[*byte as usize] += 1);
    counts
}

fn chi_square(bytes: &[u8]) -> f64 {
    let expected = bytes.len() as f64 / 256.0;
    counts(bytes).iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
}

fn entropy(bytes: &[u8]) -> f64 {
    let shares = counts(bytes).map(|count| count as f64 / bytes.len() as f64);
    -shares.iter().filter(|share| **share > 0.0).map(|share| share * share.log2()).sum::<f64>()
}
