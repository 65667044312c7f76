//! The signature over an instance's identity document: PKCS #7 signed data (RFC 5652) with the document inside, RSA with 2048 bits and SHA-256.
//!
//! AWS writes it in BER with lengths left open, so that is read, within bounds; nothing of it is believed but what the key of the region has signed,
//! which is the document byte for byte as it was sent beside it.

use super::keys::InstanceKeys;
use ring::{
    digest::{SHA256, digest},
    signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use std::borrow::Cow;

/// How deep elements may lie in each other; AWS's lie six deep.
const DEPTH_MAX: usize = 16;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;
const OCTETS_IN_PARTS: u8 = 0x24;
const OBJECT: u8 = 0x06;
/// `[0]` in each place where one may be: the content, the certificates, the signed attributes.
const FIRST: u8 = 0xa0;

/// Object identifiers, as their bytes.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// Why a document is not what AWS signed. For the log: whoever sent it learns no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SignatureError {
    /// It is no such signature at all.
    #[error("the signature is not PKCS #7 signed data with one signer")]
    Malformed,
    /// Another hash than SHA-256.
    #[error("the signature is not made with SHA-256")]
    Hash,
    /// What was signed is not what was sent.
    #[error("the document is not the one that was signed")]
    OtherDocument,
    /// No key of this region is known.
    #[error("no key of the region is known")]
    Region,
    /// Somebody else signed it.
    #[error("the region's key did not sign it")]
    Forged,
}

/// Checks that the region's key signed exactly this document.
pub(super) fn verify(signature: &[u8], document: &[u8], (keys, region): (&InstanceKeys, &str)) -> Result<(), SignatureError> {
    let key = keys.of(region).ok_or(SignatureError::Region)?;
    let signed = Signed::read(signature).ok_or(SignatureError::Malformed)?;
    if signed.hash != SHA_256 {
        return Err(SignatureError::Hash);
    }
    if *signed.content != *document {
        return Err(SignatureError::OtherDocument);
    }
    let message = match signed.attributes {
        None => Cow::Borrowed(document),
        Some(attributes) => {
            let told = attribute(attributes, MESSAGE_DIGEST).zip(attribute(attributes, CONTENT_TYPE));
            if told != Some((digest(&SHA256, document).as_ref(), DATA)) {
                return Err(SignatureError::OtherDocument);
            }
            Cow::Owned(as_set(attributes))
        }
    };
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
    key.verify(&message, signed.signature).map_err(|_| SignatureError::Forged)
}

/// What the signature holds.
struct Signed<'a> {
    content: Cow<'a, [u8]>,
    hash: &'a [u8],
    /// What is signed instead of the document, when there is any: its hash among them.
    attributes: Option<&'a [u8]>,
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut info = Reader(Reader(bytes).only(SEQUENCE)?);
        (info.next(OBJECT)? == SIGNED_DATA).then_some(())?;
        let mut data = Reader(Reader(info.next(FIRST)?).only(SEQUENCE)?);
        let (_version, _hashes) = (data.any()?, data.next(SET)?);
        let mut content = Reader(data.next(SEQUENCE)?);
        (content.next(OBJECT)? == DATA).then_some(())?;
        let content = octets(content.next(FIRST)?)?;
        // Certificates that came along prove nothing: the key is the one that is known. There are no revocation lists.
        data.next(FIRST);
        let mut signer = Reader(Reader(data.next(SET)?).only(SEQUENCE)?);
        let (_version, _name) = (signer.any()?, signer.any()?);
        let hash = Reader(signer.next(SEQUENCE)?).next(OBJECT)?;
        let attributes = signer.next(FIRST);
        let _algorithm = signer.next(SEQUENCE)?;
        let signature = signer.next(OCTETS)?;
        Some(Self { content, hash, attributes, signature })
    }
}

/// The only value of an attribute that is there once.
fn attribute<'a>(attributes: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let (mut all, mut found) = (Reader(attributes), None);
    while !all.0.is_empty() {
        let mut one = Reader(all.next(SEQUENCE)?);
        let (name, mut values) = (one.next(OBJECT)?, Reader(one.next(SET)?));
        if name == wanted {
            let (_, value) = values.any()?;
            (found.replace(value).is_none() && values.0.is_empty()).then_some(())?;
        }
    }
    found
}

/// The attributes as they were signed: a set of its own (RFC 5652, section 5.4).
fn as_set(attributes: &[u8]) -> Vec<u8> {
    let length = attributes.len();
    let bytes = length.to_be_bytes();
    let significant = bytes.iter().position(|byte| *byte != 0).and_then(|first| bytes.get(first..)).unwrap_or_default();
    let mut set = vec![SET];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => set.push(short),
        _ => {
            set.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            set.extend_from_slice(significant);
        }
    }
    set.extend_from_slice(attributes);
    set
}

/// A string of octets, whole or in parts.
fn octets(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    match Reader(bytes).any()? {
        (OCTETS, whole) => Some(Cow::Borrowed(whole)),
        (OCTETS_IN_PARTS, parts) => {
            let (mut parts, mut whole) = (Reader(parts), Vec::new());
            while !parts.0.is_empty() {
                whole.extend_from_slice(parts.next(OCTETS)?);
            }
            Some(Cow::Owned(whole))
        }
        _ => None,
    }
}

/// Elements of BER (X.690), one after the other.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element's tag and content.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, content, rest) = element(self.0, DEPTH_MAX)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The next element's content, if it has this tag; else it stays.
    fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let content = ahead.any().filter(|(found, _)| *found == tag)?.1;
        *self = ahead;
        Some(content)
    }

    /// The content of the only element.
    fn only(mut self, tag: u8) -> Option<&'a [u8]> {
        let content = self.next(tag)?;
        self.0.is_empty().then_some(content)
    }
}

/// The first element: tag, content, and what comes after it. Tags of more than one byte are not read; nothing here has them.
fn element(bytes: &[u8], depth: usize) -> Option<(u8, &[u8], &[u8])> {
    let ((&tag, rest), depth) = (bytes.split_first()?, depth.checked_sub(1)?);
    let (&first, rest) = rest.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let length = match first {
        0x80 => {
            let length = open_length(rest, depth)?;
            let (content, rest) = rest.split_at_checked(length)?;
            return Some((tag, content, rest.get(2..)?));
        }
        short if short < 0x80 => usize::from(short),
        long => {
            let (digits, _) = rest.split_at_checked(usize::from(long & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
            digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit))
        }
    };
    let skipped = if first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    let (content, rest) = rest.get(skipped..)?.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The length of the elements up to the two zeros that end them.
fn open_length(bytes: &[u8], depth: usize) -> Option<usize> {
    let mut rest = bytes;
    while !rest.starts_with(&[0, 0]) {
        rest = element(rest, depth)?.2;
    }
    Some(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ring::signature::{KeyPair, RsaKeyPair};

    const DOCUMENT: &[u8] = include_bytes!("../tests/instance/document.json");
    /// Made by `openssl cms -sign -binary -nodetach`: with open lengths as AWS writes them (`-stream -nocerts`), without attributes
    /// (`-noattr -nocerts`), and with the certificate.
    const VECTORS: [&str; 3] = [
        include_str!("../tests/instance/stream.b64"),
        include_str!("../tests/instance/noattr.b64"),
        include_str!("../tests/instance/certs.b64"),
    ];

    fn decoded(text: &str) -> Vec<u8> {
        STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
    }

    fn keys(region: &str) -> InstanceKeys {
        let pair = RsaKeyPair::from_pkcs8(&decoded(include_str!("../tests/instance/key.b64"))).unwrap();
        InstanceKeys::of_one(region, pair.public_key().as_ref())
    }

    #[test]
    fn what_openssl_signs_is_accepted_with_the_regions_own_key_only() {
        for vector in VECTORS.map(decoded) {
            let check = |keys: &InstanceKeys, region: &str| verify(&vector, DOCUMENT, (keys, region));
            assert_eq!(check(&keys("eu-central-1"), "eu-central-1"), Ok(()));
            assert_eq!(check(&keys("eu-central-1"), "us-east-1"), Err(SignatureError::Region));
            assert_eq!(check(&InstanceKeys::aws(), "eu-central-1"), Err(SignatureError::Forged));
        }
    }

    #[test]
    fn another_document_is_refused_whatever_is_changed_in_it_or_around_it() {
        let keys = keys("r");
        for vector in VECTORS.map(decoded) {
            for at in 0..DOCUMENT.len() {
                let mut document = DOCUMENT.to_vec();
                document[at] ^= 1;
                assert_eq!(verify(&vector, &document, (&keys, "r")), Err(SignatureError::OtherDocument));
                // The same change inside the signature, so that the two are alike.
                let inside = vector.windows(DOCUMENT.len()).position(|window| window == DOCUMENT).unwrap();
                let mut both = vector.clone();
                both[inside + at] ^= 1;
                assert!(verify(&both, &document, (&keys, "r")).is_err(), "{at}");
            }
            for longer in [[DOCUMENT, b" "].concat(), DOCUMENT[1..].to_vec(), Vec::new()] {
                assert_eq!(verify(&vector, &longer, (&keys, "r")), Err(SignatureError::OtherDocument));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_pass() {
        let keys = keys("r");
        for vector in VECTORS.map(decoded) {
            for length in 0..vector.len() {
                assert!(verify(&vector[..length], DOCUMENT, (&keys, "r")).is_err(), "cut at {length}");
            }
            let signed = Signed::read(&vector).unwrap().signature;
            let begins = signed.as_ptr() as usize - vector.as_ptr() as usize;
            for at in begins..begins + signed.len() {
                let mut forged = vector.clone();
                forged[at] ^= 1;
                assert_eq!(verify(&forged, DOCUMENT, (&keys, "r")), Err(SignatureError::Forged));
            }
        }
        assert!(element(&[0x30, 0x80].repeat(1000), DEPTH_MAX).is_none());
        assert!(element(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], DEPTH_MAX).is_none());
    }
}
