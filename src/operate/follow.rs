//! Answers of hostnames followed: the addresses that changed, and nothing else.

use jiff::Timestamp;

use super::record::Note;
use super::{Offered, OperateError, Operator, Waiting, Wish, answers};
use crate::config::{Config, Urgent};
use crate::pipeline;
use crate::publish::{ChangeSummary, Request, Retention};
use crate::render::Templates;
use crate::state::trail::Action;

impl Operator {
    /// Brings in force what was answered of hostnames, as a small generation: what is believed of publications stays as it is,
    /// so that neither the guard nor the calendar has a say. None where more than addresses would change (nothing is in force
    /// yet, or something else than this configuration): then an offer is to be made.
    pub fn follow(
        &mut self,
        config: &Config,
        templates: &Templates,
        now: Timestamp,
    ) -> Result<Option<Offered>, OperateError> {
        let store = self.publisher.store();
        let Some(number) = store.current()? else { return Ok(None) };
        let manifest = store.read(number)?.manifest;
        let mut names = self.names.clone();
        names.keep(config, now);
        let (believed, hosts) = (self.belief.publications(), names.addresses(now));
        let plan = pipeline::plan(config, believed, &hosts, templates, None, &[])?;
        let before = store.rule_set(number)?;
        if !plan.rule_set.is_equal_but_for_answers(&before) {
            return Ok(None);
        }
        let mut offered = Offered { warnings: plan.warnings(), ..Offered::default() };
        let mut request =
            Request::of(config, plan.rule_set, plan.artifacts, believed, "names".to_owned(), now)?;
        if !manifest.has_targets_of(&request) {
            return Ok(None);
        }
        request.publications = manifest.publications;
        request.small = true;
        request.loads = plan.loads;
        request.companions = vec![answers(&names)?];
        let wish = Wish::OfAgent { closed: None, urgent: Urgent::Nothing };
        let note = Note {
            at: now,
            action: Action::Published,
            by: None,
            reason: Some(&request.reason),
            decision: None,
            events: &[],
            configuration: Some(request.configuration),
        };
        let mut entry = None;
        if !self.publisher.is_in_force(&request)? {
            offered.summary = ChangeSummary::of(&before, &request.rule_set);
            if let Some(until) = self.obstacle(&wish)? {
                offered.waiting = Some(Waiting { until, summary: offered.summary.clone() });
                return Ok(Some(offered));
            }
            let next = Some(self.publisher.next_number()?);
            let rules = (&before, &request.rule_set);
            let (trail, prepared) = self.prepare(&note, next, (&self.belief, None), rules)?;
            request.companions.push(trail);
            entry = Some(prepared);
        }
        let published = self.publisher.publish(&request, Retention::from(&config.publish));
        let published = published.inspect_err(|error| self.note_failure(&note, error))?;
        if let Some(entry) = &entry {
            self.committed(entry);
        }
        self.note_correction(now);
        offered.published = Some(published);
        Ok(Some(offered))
    }
}
