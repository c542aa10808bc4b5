//! The director on an interface, for tests of what goes on beside it.

use landfall_announcer::link::IfIndex;
use landfall_announcer::responder::Settings;
use landfall_bpf_lb::desired::{Desired, Interface};
use landfall_bpf_lb::{AttachMode, Director, XdpPath};

use super::{Node, Segment, on_a_segment, said_once};

/// Whether and how it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Xdp {
    Absent,
    Native,
    Generic,
}

/// A bpffs of a test's own, and a director in it; both end when it is dropped.
pub(crate) struct Attached {
    _director: Option<Director>,
    _folder: Bpffs,
}

impl Attached {
    /// Attaches the director to the `eth0` of this namespace.
    pub(crate) fn to(eth0: IfIndex, xdp: Xdp) -> Self {
        let folder = Bpffs::mount();
        let attach = |attach, path| {
            let settings = landfall_bpf_lb::Settings {
                attach,
                ..landfall_bpf_lb::Settings::new(folder.0.path().join("landfall"))
            };
            let mut director = Director::load(&settings).unwrap();
            // Nothing is directed here: its Ethernet address is not looked at.
            let interface = Interface {
                name: "eth0".into(),
                mac: [0; 6],
                members: Default::default(),
                is_trunk: false,
            };
            let desired = Desired {
                interfaces: [(eth0, interface)].into(),
                ..Desired::default()
            };
            let applied = director.apply(&desired).unwrap();
            assert_eq!(applied.interfaces[&eth0].path, path);
            director
        };
        let director = match xdp {
            Xdp::Absent => None,
            Xdp::Native => Some(attach(AttachMode::Native, XdpPath::Native)),
            Xdp::Generic => Some(attach(AttachMode::Generic, XdpPath::Generic)),
        };
        Self {
            _director: director,
            _folder: folder,
        }
    }
}

struct Bpffs(tempfile::TempDir);

impl Bpffs {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(none, folder.path(), Some("bpf"), flags, none).unwrap();
        Self(folder)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Runs a test on a segment with a node that says everything once, beside the director on its `eth0`.
pub(crate) fn beside<F>(test: &str, xdp: Xdp, body: impl FnOnce(Segment, Node, IfIndex) -> F + Send)
where
    F: Future<Output = ()>,
{
    on_a_segment(test, async move |segment| {
        let pace = said_once();
        let mut node = Node::with(Settings {
            pace,
            ..Settings::default()
        })
        .await;
        let eth0 = node.link("eth0").await;
        let _attached = Attached::to(eth0, xdp);
        body(segment, node, eth0).await;
    });
}

#[allow(unused_macros, reason = "each test binary uses the part it needs")]
/// The same test without the director on the interface, with it in the driver, and with it in the network stack.
macro_rules! beside_xdp {
    ($name:ident, $body:expr) => {
        mod $name {
            use super::*;
            use crate::segment::{Xdp, beside};

            fn run(how: &str, xdp: Xdp) {
                beside(&format!("{}::{how}", stringify!($name)), xdp, $body);
            }

            #[test]
            fn without_xdp() {
                run("without_xdp", Xdp::Absent);
            }

            #[test]
            fn with_xdp_in_the_driver() {
                run("with_xdp_in_the_driver", Xdp::Native);
            }

            #[test]
            fn with_generic_xdp() {
                run("with_generic_xdp", Xdp::Generic);
            }
        }
    };
}

pub(crate) use beside_xdp;
