//! What the release asks of a program for macOS before it is packed (`hack/macho.py`), of programs made of a header alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use ring::digest::{SHA256, digest};

const LIBSYSTEM: &str = "/usr/lib/libSystem.B.dylib";
const SECURITY: &str = "/System/Library/Frameworks/Security.framework/Versions/A/Security";
const X86_64: u32 = 0x0100_0007;
const ARM64: u32 = 0x0100_000c;
/// The number of no library: whichever has the symbol at the start.
const DYNAMIC_LOOKUP: u8 = 0xfe;
const PAGE: usize = 64;

struct Program {
    cpu: u32,
    /// Major and minor version in the upper half and the byte below.
    macos: u32,
    libraries: Vec<&'static str>,
    /// What it takes, and by which library's number.
    symbols: Vec<(&'static str, u8)>,
    begins: bool,
    signed: bool,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            cpu: ARM64,
            macos: 0x000b_0000,
            libraries: vec![LIBSYSTEM, SECURITY],
            symbols: vec![("_write", 1), ("_SecTrustEvaluateWithError", 2)],
            begins: true,
            signed: true,
        }
    }
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn big_words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn length(bytes: &[u8]) -> u32 {
    bytes.len().try_into().unwrap()
}

/// A load command whose numbers end in a name.
fn named(kind: u32, numbers: &[u32], name: &str) -> Vec<u8> {
    let start = 12 + 4 * numbers.len();
    let mut text = name.as_bytes().to_vec();
    text.resize((start + name.len() + 8) / 8 * 8 - start, 0);
    let whole = u32::try_from(start + text.len()).unwrap();
    let start = u32::try_from(start).unwrap();
    [words(&[kind, whole, start]), words(numbers), text].concat()
}

impl Program {
    fn bytes(&self) -> Vec<u8> {
        let mut commands: Vec<_> = self
            .libraries
            .iter()
            .map(|l| named(0xc, &[0; 3], l))
            .collect();
        commands.push(named(0xe, &[], "/usr/lib/dyld"));
        commands.push(words(&[0x32, 24, 1, self.macos, 0, 0]));
        if self.begins {
            commands.push(words(&[0x8000_0028, 24, 0, 0, 0, 0]));
        }
        let (mut symbols, mut strings) = (Vec::new(), vec![0]);
        for (name, library) in &self.symbols {
            symbols.extend(words(&[length(&strings)]));
            symbols.extend([1, 0, 0, *library]);
            symbols.extend([0; 8]);
            strings.extend(name.bytes().chain([0]));
        }
        let signature = if self.signed { 16 } else { 0 };
        let first = 32 + length(&commands.concat()) + 24 + signature;
        let second = first + length(&symbols);
        let end = second + length(&strings);
        let count = u32::try_from(self.symbols.len()).unwrap();
        commands.push(words(&[2, 24, first, count, second, length(&strings)]));
        if self.signed {
            commands.push(words(&[0x1d, 16, end, 0]));
        }
        let count = u32::try_from(commands.len()).unwrap();
        let commands = commands.concat();
        let flags = 0x0020_0080;
        let header = words(&[
            0xfeed_facf,
            self.cpu,
            0,
            2,
            count,
            length(&commands),
            flags,
            0,
        ]);
        let mut bytes = [header, commands, symbols, strings].concat();
        if self.signed {
            bytes.extend(signature_of(&bytes));
        }
        bytes
    }
}

/// An ad-hoc signature: one directory of hashes, one for each page.
fn signature_of(bytes: &[u8]) -> Vec<u8> {
    let pages = bytes.chunks(PAGE);
    let count = u32::try_from(pages.len()).unwrap();
    let (version, adhoc, hashes) = (0x20400, 2, 44);
    let directory = [
        0xfade_0c02,
        0,
        version,
        adhoc,
        hashes,
        0,
        0,
        count,
        length(bytes),
    ];
    let mut signature = big_words(&[0xfade_0cc0, 0, 1, 0, 20]);
    signature.extend(big_words(&directory));
    // Length and kind of a hash, and the power of two that a page is long.
    signature.extend([32, 2, 0, 6, 0, 0, 0, 0]);
    for page in pages {
        signature.extend(digest(&SHA256, page).as_ref());
    }
    signature
}

fn check(arch: &str, bytes: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let stub = |name: &str, library: &str, symbol: &str| {
        let path = folder.path().join(name);
        let targets = "targets: [ x86_64-macos, arm64-macos ]";
        let exports = format!("exports:\n  - {targets}\n    symbols: [ {symbol}, '_sym$OF' ]");
        std::fs::write(&path, format!("install-name: '{library}'\n{exports}\n")).unwrap();
        path
    };
    let program = folder.path().join("landfall");
    std::fs::write(&program, bytes).unwrap();
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/macho.py"))
        .args([arch, "11.0"])
        .arg(program)
        .arg(stub("libSystem.tbd", LIBSYSTEM, "_write"))
        .arg(stub("Security.tbd", SECURITY, "_SecTrustEvaluateWithError"))
        .output()
        .unwrap()
}

fn assert_refused(bytes: &[u8], why: &str) {
    let output = check("arm64", bytes);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(why), "{said}");
}

#[test]
fn a_good_program_is_told_by_its_libraries() {
    let output = check("arm64", &Program::default().bytes());
    assert!(output.status.success(), "{output:#?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("{LIBSYSTEM}\n{SECURITY}\n"));
}

#[test]
fn a_program_of_another_processor_is_refused() {
    let program = Program {
        cpu: X86_64,
        ..Program::default()
    };
    assert_refused(&program.bytes(), "another processor");
}

#[test]
fn a_program_for_a_newer_system_than_is_promised_is_refused() {
    let program = Program {
        macos: 0x000d_0000,
        ..Program::default()
    };
    assert_refused(&program.bytes(), "13.0");
}

#[test]
fn a_library_that_nobody_knows_is_refused() {
    let program = Program {
        libraries: vec![LIBSYSTEM, SECURITY, "/opt/homebrew/lib/libz.dylib"],
        ..Program::default()
    };
    assert_refused(&program.bytes(), "it needs /opt/homebrew/lib/libz.dylib");
}

#[test]
fn a_symbol_that_its_library_does_not_have_is_refused() {
    let program = Program {
        symbols: vec![("_write", 2)],
        ..Program::default()
    };
    let why = format!("_write is not in {SECURITY}");
    assert_refused(&program.bytes(), &why);
}

#[test]
fn a_symbol_that_names_no_library_is_refused() {
    let program = Program {
        symbols: vec![("_write", DYNAMIC_LOOKUP)],
        ..Program::default()
    };
    assert_refused(&program.bytes(), "_write comes from no library by name");
}

#[test]
fn a_program_that_begins_nowhere_is_refused() {
    let program = Program {
        begins: false,
        ..Program::default()
    };
    assert_refused(&program.bytes(), "nothing says where it begins");
}

#[test]
fn only_apples_processor_asks_for_a_signature() {
    let program = Program {
        signed: false,
        ..Program::default()
    };
    assert_refused(&program.bytes(), "it is not signed");
    let program = Program {
        cpu: X86_64,
        ..program
    };
    let output = check("amd64", &program.bytes());
    assert!(output.status.success(), "{output:#?}");
}

#[test]
fn a_program_changed_after_it_was_signed_is_refused() {
    let mut bytes = Program::default().bytes();
    // The version of the system's SDK, which nothing reads.
    let sdk = bytes
        .windows(4)
        .position(|w| w == 0x000b_0000_u32.to_le_bytes())
        .unwrap()
        + 4;
    bytes[sdk] ^= 1;
    assert_refused(&bytes, "is not what was signed");
}

#[test]
fn what_is_no_program_is_refused() {
    assert_refused(b"", "it is no program");
}
