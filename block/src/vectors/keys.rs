use serde_json::{Value, json};

use super::{compare, device, hex, refused, volume};
use crate::codec::{Reader, Writer};
use crate::device::{DeviceCert, Rights};
use crate::keys::{MasterKey, VolumeKeys};

#[test]
fn keys_of_volumes() {
    let volumes = [([0x11; 32], &b"vectors"[..]), ([0; 32], b""), ([0xff; 32], "zuhause \u{e9}".as_bytes())];
    let valid = volumes.map(|(master, name)| {
        let keys = VolumeKeys::derive(&MasterKey::from_bytes(master), name);
        json!({
            "master": hex(master),
            "volume_name": hex(name),
            "write": hex(keys.write().as_bytes()),
            "signing_seed": hex(keys.signing().as_bytes()),
            "volume_public": hex(keys.volume_public()),
            "volume": keys.volume().to_string(),
            "read": hex(keys.read().as_bytes()),
            "keep": hex(keys.keep().as_bytes()),
            "locate": hex(keys.keep().locate().as_bytes()),
            "placement": hex(keys.keep().locate().placement().as_bytes()),
            "convergence": hex(keys.convergence().as_bytes()),
            "dedup": hex(keys.dedup().as_bytes()),
            "names": hex(keys.names().as_bytes()),
            "heads": hex(keys.read().heads().as_bytes()),
            "packs": hex(keys.keep().packs().as_bytes()),
        })
    });
    compare("keys.json", "What follows from a master key and a volume's name.", valid.to_vec(), Vec::new());
}

#[test]
fn certificates() {
    let all = [Rights::WRITE, Rights::APPEND_ONLY, Rights::OWNER, Rights::from_bits(0).unwrap()];
    let public = volume().volume_public();
    let case =
        |name: &str, bytes: &[u8]| json!({ "name": name, "volume_public": hex(public), "certificate": hex(bytes) });
    let good = all.map(|rights| encoded(&volume().certify(device().id(), rights)));
    let valid = good.iter().zip(all).map(|(bytes, rights)| {
        assert_eq!(decoded(bytes).unwrap().verify(&public), Ok(()));
        let mut case = case("", bytes);
        case["rights"] = rights.bits().into();
        case["device"] = device().id().to_string().into();
        case
    });
    let mut raised = good[1].clone();
    raised[32] = Rights::OWNER.bits();
    let mut other_device = good[0].clone();
    other_device[0] ^= 1;
    let mut forged = good[0].clone();
    forged[96] ^= 1;
    let mut unknown = good[0].clone();
    unknown[32] = 0x80;
    let signed = [("rights were raised", raised), ("another device", other_device), ("an altered signature", forged)];
    let mut malformed: Vec<Value> = Vec::new();
    for (name, bytes) in signed {
        let mut case = case(name, &bytes);
        case["error"] = refused(decoded(&bytes).unwrap().verify(&public), "BadSignature");
        malformed.push(case);
    }
    for (name, bytes, expected) in
        [("an unknown right", &unknown[..], "Invalid"), ("short", &good[0][..96], "Truncated")]
    {
        let mut case = case(name, bytes);
        case["error"] = refused(decoded(bytes), expected);
        malformed.push(case);
    }
    compare("certificates.json", "What lets a device write to a volume.", valid.collect(), malformed);
}

fn encoded(cert: &DeviceCert) -> Vec<u8> {
    let mut out = Writer::new();
    cert.encode(&mut out);
    out.into_vec()
}

fn decoded(bytes: &[u8]) -> Result<DeviceCert, crate::codec::DecodeError> {
    DeviceCert::decode(&mut Reader::new(bytes))
}
