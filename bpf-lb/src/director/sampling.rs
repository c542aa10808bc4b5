//! The programs that take samples: put in while somebody looks, and nowhere else.
//!
//! They are the same but for that, and take over maps and links as those of a new process do; so packets pay nothing for
//! it as long as nobody looks.

use aya::Ebpf;
use landfall_bpf_lb_common::names;

use super::pins::{directories, unpin};
use super::{Director, LoadError, load_object, load_program};
use crate::links::{classifier, xdp_program};
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
            Some(Sampler(sampling)) => sampling,
            None => &mut self.plain,
        }
    }
}

/// The programs that take samples, ready to be put in.
pub struct Sampler(Ebpf);

impl Sampler {
    /// Has the kernel take them in, which takes as long as its verifier does, and needs no [`Director`]. One must have
    /// been loaded by these settings.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(settings: &Settings) -> Result<Self, LoadError> {
        let mut ebpf = load_object(object::SAMPLES, settings)?;
        load_program(names::XDP, || xdp_program(&mut ebpf)?.load())?;
        load_program(names::EGRESS, || {
            classifier(&mut ebpf, names::EGRESS)?.load()
        })?;
        Ok(Self(ebpf))
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

    /// Puts in the programs that take samples. [`Director::apply`] is due then: it puts them where there are no links.
    ///
    /// # Errors
    /// If a link cannot be given its program; the next [`Director::apply`] tries again.
    pub fn take_samples(&mut self, sampler: Sampler) -> Result<(), LoadError> {
        self.programs.sampling = Some(sampler);
        Ok(self.links.adopt(self.programs.attached())?)
    }

    /// Puts the plain programs in again, and takes away what samples came by. [`Director::apply`] is due as above.
    ///
    /// # Errors
    /// If a link cannot be given its program, as above, or a pin not be removed.
    pub fn take_no_samples(&mut self) -> Result<(), LoadError> {
        self.programs.sampling = None;
        self.links.adopt(self.programs.attached())?;
        self.clear_away_samples()
    }

    /// Takes away what an earlier look has left, if nobody looks.
    pub(super) fn clear_away_samples(&self) -> Result<(), LoadError> {
        if self.sampling.is_wanted() {
            return Ok(());
        }
        self.sampling.forget();
        let (maps, _) = directories(&self.settings);
        for name in [names::SAMPLES, names::MISSED] {
            unpin(&maps.join(name))?;
        }
        Ok(())
    }
}
