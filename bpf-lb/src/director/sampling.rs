//! The programs that take samples: put in while somebody looks, and nowhere else.
//!
//! They are the same but for that, and take over maps and links as those of a new process do; so packets pay nothing for
//! it as long as nobody looks.

use aya::Ebpf;
use aya::maps::MapData;
use landfall_bpf_lb_common::names;

use super::pins::{directories, unpin};
use super::{Director, LoadError, load_object, load_program};
use crate::links::{Links, classifier, id_on, xdp_program};
use crate::object;
use crate::settings::Settings;

/// The programs that can be attached.
pub(super) struct Programs {
    pub(super) plain: Ebpf,
    pub(super) sampling: Option<Sampler>,
}

impl Programs {
    /// Those that are to be attached now.
    pub(super) fn attached(&mut self) -> &mut Ebpf {
        match &mut self.sampling {
            Some(sampler) => &mut sampler.ebpf,
            None => &mut self.plain,
        }
    }
}

/// The programs that take samples, ready to be put in.
pub struct Sampler {
    ebpf: Ebpf,
    /// The kernel's number of the map of frontends that they know.
    frontends: u64,
}

impl Sampler {
    /// Has the kernel take them in, which takes as long as its verifier does, and needs no [`Director`]. One must have
    /// been loaded by these settings.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let loaded = Self::load_all(settings);
        if loaded.is_err() {
            // Whoever looks must not take the ring for one that somebody fills.
            unpin_ring(settings)?;
        }
        loaded
    }

    fn load_all(settings: &Settings) -> Result<Self, LoadError> {
        let (maps_dir, links_dir) = directories(settings);
        // Before they are looked up: if they are others by then, these programs are put in nowhere.
        let frontends = MapData::from_pin(maps_dir.join(names::FRONTENDS4))?
            .info()?
            .id();
        let mut ebpf = load_object(object::SAMPLES, settings)?;
        load_program(names::XDP, || xdp_program(&mut ebpf)?.load())?;
        load_program(names::EGRESS, || {
            classifier(&mut ebpf, names::EGRESS)?.load()
        })?;
        // Those that are not loaded but when they are asked for, and then under the director's lock.
        for path in Links::new(links_dir, settings.tc_links).paths()? {
            load_program(path.program(), || id_on(&mut ebpf, path).map(drop))?;
        }
        Ok(Self {
            ebpf,
            frontends: frontends.into(),
        })
    }
}

impl Director {
    /// Whether somebody looks at packets, by [`crate::samples::Samples`].
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.sampling.is_wanted()
    }

    /// Whether the programs take samples.
    #[must_use]
    pub const fn takes_samples(&self) -> bool {
        self.programs.sampling.is_some()
    }

    /// Puts in the programs that take samples, unless they were made for maps that have gone meanwhile.
    /// [`Director::apply`] is due then: it puts them where there are no links, and everywhere once it has filled the maps.
    ///
    /// # Errors
    /// If a link cannot be given its program: all have the plain ones then.
    pub fn take_samples(&mut self, sampler: Sampler) -> Result<(), LoadError> {
        if sampler.frontends != self.maps.number() {
            return Ok(());
        }
        self.programs.sampling = Some(sampler);
        let adopted = self.adopt();
        if adopted.is_err() {
            self.programs.sampling = None;
            self.adopt()?;
            unpin_ring(&self.settings)?;
        }
        adopted
    }

    /// Puts the plain programs in again, and takes away what samples came by. [`Director::apply`] is due as above.
    ///
    /// # Errors
    /// If a link cannot be given its program: the next [`Director::apply`] tries again. Or if a pin cannot be removed.
    pub fn take_no_samples(&mut self) -> Result<(), LoadError> {
        self.programs.sampling = None;
        let adopted = self.adopt();
        if !self.sampling.is_wanted() {
            self.sampling.forget();
            unpin_ring(&self.settings)?;
        }
        adopted
    }

    /// As in [`Director::load`]: not before the maps are filled.
    fn adopt(&mut self) -> Result<(), LoadError> {
        if self.maps.are_filled() {
            self.links.adopt(self.programs.attached())?;
        }
        Ok(())
    }
}

/// Takes away what samples come by.
pub(super) fn unpin_ring(settings: &Settings) -> Result<(), LoadError> {
    let (maps, _) = directories(settings);
    [names::SAMPLES, names::MISSED]
        .iter()
        .try_for_each(|name| unpin(&maps.join(name)))
}
