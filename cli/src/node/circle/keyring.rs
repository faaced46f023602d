//! What another device of the same person is given with its membership: the master key, and the names of the volumes.
//!
//! ```text
//! version u8 = 1 ‖ master key, 32 bytes ‖ names of volumes, each ended by a newline
//! ```
//! It travels inside the seal of the exchange that the code is for (`docs/WIRE.md`, *welcome*), and is not kept as it is.

use cairn_block::MasterKey;
use zeroize::Zeroizing;

use crate::config::is_volume_name;

const VERSION: u8 = 1;
/// What a *welcome* has room for. Names beyond it are typed on the other device, which finds the volumes by them.
const BYTES_MAX: usize = 1024;

/// See the module.
pub(super) struct Keyring {
    pub(super) master: MasterKey,
    pub(super) volumes: Vec<String>,
}

impl Keyring {
    pub(super) fn encode(master: &MasterKey, volumes: &[String]) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
        bytes.push(VERSION);
        bytes.extend_from_slice(master.as_bytes());
        for name in volumes {
            if bytes.len() + name.len() < BYTES_MAX {
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(b'\n');
            }
        }
        bytes
    }

    /// `None` for what no release up to this one wrote.
    pub(super) fn decode(bytes: &[u8]) -> Option<Keyring> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (master, names) = rest.split_first_chunk::<32>()?;
        let names = std::str::from_utf8(names).ok()?;
        let volumes: Vec<String> = names.split_terminator('\n').map(str::to_owned).collect();
        volumes
            .iter()
            .all(|name| is_volume_name(name))
            .then(|| Keyring { master: MasterKey::from_bytes(*master), volumes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_is_read_back_and_never_longer_than_its_place() {
        let names: Vec<String> = (0..200).map(|number| format!("volume-{number}")).collect();
        let bytes = Keyring::encode(&MasterKey::from_bytes([3; 32]), &names);
        assert!(bytes.len() <= BYTES_MAX);
        let keyring = Keyring::decode(&bytes).expect("a keyring");
        assert_eq!(keyring.master.as_bytes(), &[3; 32]);
        assert!(keyring.volumes.len() > 50 && keyring.volumes == names[..keyring.volumes.len()]);
    }

    #[test]
    fn what_is_no_keyring_is_refused() {
        let whole = Keyring::encode(&MasterKey::from_bytes([3; 32]), &["a".to_owned()]);
        for bad in [&[][..], &[2; 33], &whole[..20]] {
            assert!(Keyring::decode(bad).is_none());
        }
        let mut hostile = whole.to_vec();
        hostile.extend_from_slice(b"../etc\n");
        assert!(Keyring::decode(&hostile).is_none());
    }
}
