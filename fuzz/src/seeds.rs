//! The seeds in `corpus/`: the golden vectors of `block/tests/vectors`, valid and malformed, and a few texts of each kind.
//! Small, and always the same; what a run finds beside them stays in `target/fuzz`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::Value;

use crate::targets::TARGETS;
use crate::targets::messages::PROTOCOLS;

type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

/// Which fields of which vectors are whole inputs of which target.
const WHOLE: &[(&str, &str, &str)] = &[
    ("sealed.json", "block", "block"),
    ("wrapped.json", "wrapped", "wrapped"),
    ("hints.json", "ref", "wrapped"),
    ("map_nodes.json", "node", "map_node"),
    ("file_nodes.json", "node", "file_node"),
    ("volume_roots.json", "bytes", "volume_root"),
    ("entries.json", "value", "entry"),
    ("entries.json", "key", "entry"),
    ("heads.json", "head", "head"),
    ("refs.json", "ref", "ids"),
    ("descriptors.json", "descriptor", "descriptor"),
    ("proofs.json", "proof", "proof"),
    ("circle.json", "epoch", "epoch"),
];

/// Texts that are right, or nearly.
const TEXTS: &[(&str, &str)] = &[
    ("ids", "bafkr4ibabababababababababababababababababababababababababa"),
    ("ids", "00112233445566778899aabbccddeeff"),
    ("ids", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
    ("config", "volume = \"main\"\nquota = \"10G\"\nworkers = 4\nallow_other = true\n"),
    ("config", "data_dir = '~/x'\nlog = \"cairn_store=debug,info\"\nidle_exit_seconds = 0\n[table]\na = 1.5\n"),
    ("config", "volum = \"x\""),
    ("key_file", "{\"cairn_node_key\":1,\"lock\":{\"open\":{\"key\":\"00\"}},\"sealed\":\"00ff\"}"),
    (
        "key_file",
        "{\"cairn_node_key\":1,\"lock\":{\"argon2id\":{\"memory_kib\":65536,\"passes\":3,\"lanes\":4,\"salt\":\"00\"}},\"sealed\":\"\"}",
    ),
    ("volumes", "main\nphotos"),
    ("circle_file", "\x01\0\x05\0\0\0epoch\0\0\0"),
    ("config", "listen = \"0.0.0.0:4870,[::]:4870\"\nkeep = \"used\"\n"),
    (
        "control",
        "POST /v1/status HTTP/1.1\r\nhost: cairn\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    ),
    (
        "control",
        "POST /v1/ls HTTP/1.1\r\nhost: cairn\r\ncontent-type: application/json\r\ncontent-length: 97\r\n\r\n\
         {\"target\":{\"volume\":\"main\",\"path\":{\"hex\":\"2f61\"},\"directory\":\"/\",\"at\":\"latest\"},\"recursive\":true}",
    ),
    (
        "control",
        "POST /v1/gc HTTP/1.1\r\nhost: cairn\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
         10\r\n{\"dry_run\": true\r\n1\r\n}\r\n0\r\n\r\nGET /v1/status HTTP/1.1\r\n\r\n",
    ),
    (
        "answer",
        "{\"event\":\"progress\",\"unit\":\"bytes\",\"done\":1,\"total\":2}\n{\"event\":\"done\",\"result\":{}}\n",
    ),
    ("answer", "{\"event\":\"item\",\"item\":{\"path\":\"a\"}}\n{\"event\":\"trouble\",\"path\":{\"hex\":\"ff\"}}\n"),
    ("arguments", "--json\0ls\0-R\0/a@latest"),
    ("arguments", "mount\0-o\0ro,allow_other\0main\0/mnt"),
    ("arguments", "-V\0photos\0get\0a@2026-11-21T09:00:00Z\0b"),
    ("words", "1.5GiB"),
    ("words", "{\"hex\":\"00ff\"}"),
    ("words", "2026-11-21T09:00:00.5Z"),
    ("mount_options", "ro,nodev,max_read=65536,deadline=5,x-systemd.automount,fsname=a"),
    ("mount_options", "rw,suid,atime,subtype=cairn,,user"),
];

/// Writes the seeds of every target into a folder of its name.
pub(crate) fn write(directory: &Path) -> io::Result<()> {
    let mut seeds = Seeds::new();
    vectors(&mut seeds)?;
    for (target, text) in TEXTS {
        seeds.entry(target).or_default().push(text.as_bytes().to_vec());
    }
    seeds.entry("phrase").or_default().push(format!("{} art", "abandon ".repeat(23).trim()).into_bytes());
    made_up(&mut seeds);
    messages(&mut seeds)?;
    for target in TARGETS {
        let folder = directory.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for seed in seeds.get(target.name).into_iter().flatten() {
            let name = &blake3::hash(seed).to_hex()[..16];
            std::fs::write(folder.join(name), seed)?;
        }
    }
    Ok(())
}

/// The golden files.
fn vectors(seeds: &mut Seeds) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../block/tests/vectors");
    for (file, field, target) in WHOLE {
        let document: Value = serde_json::from_slice(&std::fs::read(folder.join(file))?)?;
        let cases = ["valid", "malformed"].into_iter().flat_map(|part| document[part].as_array().into_iter().flatten());
        for case in cases {
            let bytes = case[field].as_str().and_then(|text| HEXLOWER.decode(text.as_bytes()).ok());
            seeds.entry(target).or_default().extend(bytes.filter(|bytes| bytes.len() <= 16 << 10));
        }
    }
    Ok(())
}

/// The golden messages, each behind the number of its protocol.
fn messages(seeds: &mut Seeds) -> io::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../net/tests/vectors/messages.json");
    let document: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let cases = ["valid", "malformed"].into_iter().flat_map(|part| document[part].as_array().into_iter().flatten());
    for case in cases {
        let protocol = PROTOCOLS.iter().position(|protocol| case["protocol"] == *protocol);
        let body = case["body"].as_str().and_then(|text| HEXLOWER.decode(text.as_bytes()).ok());
        let Some((protocol, body)) = protocol.zip(body) else { continue };
        if body.len() <= 16 << 10 {
            seeds.entry("message").or_default().push([&[protocol as u8][..], &body].concat());
        }
    }
    Ok(())
}

/// Inputs that a target takes apart: made of the golden ones.
fn made_up(seeds: &mut Seeds) {
    let piece = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat();
    let of = |seeds: &Seeds, target: &str| seeds.get(target).cloned().unwrap_or_default();
    for (nodes, tree) in [("map_node", "map_tree"), ("file_node", "file_tree")] {
        let front: &[u8] = if tree == "map_tree" { &[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'a'] } else { &[0; 14] };
        let nodes = of(seeds, nodes);
        let small = nodes.iter().filter(|node| node.len() < 2048);
        let made = small.map(|node| [front, &piece(node), &piece(&nodes[0])].concat()).collect::<Vec<_>>();
        seeds.entry(tree).or_default().extend(made);
    }
    // Attributes lie at the end of records.
    let xattrs = b"\x06user.a\x01\0\0\0x\x06user.b\0\0\0\0".to_vec();
    seeds.entry("xattrs").or_default().push(xattrs);
    // Outside and inside of a head, the outside without certificate and seal.
    let heads = of(seeds, "head");
    let parts = heads.iter().filter(|head| head.len() > 300).map(|head| {
        let outside = &head[..156 + 40];
        let inside = [&[3; 68][..], &[0; 20], &[1, 4], b"name", &[0; 26]].concat();
        [piece(outside), inside].concat()
    });
    let parts: Vec<_> = parts.collect();
    seeds.entry("head").or_default().extend(parts);
    for kind in 0..5_u8 {
        let header = [1, kind + 1, 0, 0, 4, 0, 0, 0];
        seeds.entry("chunk").or_default().push([&[kind, 3][..], &header, b"data"].concat());
    }
    let zstd = b"\x28\xb5\x2f\xfd\x20\x40\x4d\x00\x00\x10\x61\x61\x01\x00\x3b\x05\x05".to_vec();
    seeds.entry("chunk").or_default().push([&[0, 3, 1, 1, 1, 0, 64, 0, 0, 0][..], &zstd].concat());
    // SizeClass, what to break, another place, and a directory of two blocks.
    let entry = |name: u8, offset: u32, len: u32| [&[name; 32][..], &offset.to_le_bytes(), &len.to_le_bytes()].concat();
    for class in 0..4_u8 {
        let directory = [entry(1, 0, 24), entry(2, 24, 1000)].concat();
        seeds.entry("pack").or_default().push([&[class, class % 3, 0, 0, 3, 0][..], &directory].concat());
    }
    journal(seeds, piece);
    for kind in 0..7_u8 {
        let record =
            [&[2, kind][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], &[72, 0, 0, 0], &piece(&[5; 40])];
        seeds.entry("log").or_default().push([&[0; 17][..], &record.concat(), &record.concat()].concat());
    }
}

/// A cut of one delta: a new file in the root directory, its name and its bytes.
fn journal(seeds: &mut Seeds, piece: impl Fn(&[u8]) -> Vec<u8>) {
    let Some(record) = seeds.get("entry").and_then(|all| all.iter().find(|value| value.len() > 92 && value[0] == 0))
    else {
        return;
    };
    let record = &record[1..];
    let ino = &record[2..10];
    let key = [&[1, 2, 3, 4, 5, 6, 7][..], b"name"].concat();
    let node = [&[3, 0, 1, 0][..], &piece(record)].concat();
    let name = [&[4][..], &[1, 0, 0, 0, 0, 0, 0, 0], &piece(&key), &[1], ino].concat();
    let bytes = [&[7][..], ino, &[0], &[0; 8], &[2], &piece(b"some bytes")].concat();
    let delta = [&[1, 3][..], &[99, 0, 0, 0, 0, 0, 0, 0], &node, &name, &bytes].concat();
    seeds.entry("journal").or_default().push(piece(&delta));
}
