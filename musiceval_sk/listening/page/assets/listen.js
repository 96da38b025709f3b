'use strict';
// The way through the test: consent, instructions, practice, the parts with their trials, thanks.

const session = {test: null, rater: null, batches: [], answers: null, send: null, view: null, begun: null};

function show(view, ...content) {
  session.view?.leave?.();
  session.view = view;
  byId('main').replaceChildren(...content);
  window.scrollTo(0, 0);
  document.querySelector('#main h1')?.focus({preventScroll: true});
  refreshFrame();
}

function showCard(title, ...content) {
  showAs({}, title, ...content);
}

function showAs(view, title, ...content) {
  show(view, element('article', {class: 'card'}, element('h1', {tabindex: -1}, title), ...content));
}

function total() {
  return session.batches.reduce((sum, {trials}) => sum + trials.length, 0);
}

function firstOpen() {
  for (const {batch, trials} of session.batches) {
    const index = trials.findIndex((trial, i) => !session.answers.has({batch, position: i + 1}));
    if (index >= 0) return {batch, position: index + 1, trials, trial: trials[index]};
  }
  return null;
}

function refreshFrame() {
  const done = session.answers?.all().length ?? 0;
  byId('progress').hidden = session.answers === null;
  byId('progress').max = Math.max(1, total());
  byId('progress').value = done;
  byId('progress-text').textContent = session.answers === null ? '' : filled(texts.progress, {done, total: total()});
  byId('take-break').hidden = !session.view?.press;
  byId('download').hidden = done === 0 || Boolean(session.view?.isDone);
  byId('status').textContent = session.answers === null ? '' : statusText();
}

function statusText() {
  const {answers} = session;
  if (!answers.keeps && !session.send) return texts.not_kept;
  if (!session.send) return answers.all().length ? texts.saved_here : '';
  if (answers.refused().length) return filled(texts.refused, {number: answers.refused().length});
  if (answers.unsent().length) return filled(texts.waiting, {number: answers.unsent().length});
  return answers.all().length ? texts.saved : '';
}

function goOn() {
  const {answers, test} = session;
  const next = firstOpen();
  if (!answers.flag('consent')) showConsent();
  else if (next === null) showDone();
  else if (!answers.flag('instructed')) showInstructions();
  else if (!answers.flag('practised') && test.training.length) showPractice(0);
  else if (session.begun !== next.batch) showBreak(next);
  else showTrial(next);
}

function showConsent() {
  const agree = element('input', {type: 'checkbox', id: 'agree', onchange: () => { proceed.disabled = !agree.checked; }});
  const proceed = button(texts.continue, () => { session.answers.setFlag('consent'); goOn(); }, {disabled: true});
  const label = element('label', {class: 'agree'}, agree, element('span', {}, texts.agree));
  showCard(texts.consent_title, ...paragraphs(texts.consent), label, element('div', {class: 'actions'}, proceed));
}

function instructionsFor({method, scales}) {
  const {instructions} = texts;
  const hasPrompts = session.batches.some(({trials}) => trials.some(({prompt}) => prompt));
  const hasTwo = method !== 'pairs' && scales.includes('impression') && scales.includes('alignment');
  const lines = hasPrompts ? [instructions.prompt] : [];
  lines.push(method === 'pairs' ? instructions.play_pairs : instructions.play, instructions[method]);
  if (hasTwo) lines.push(instructions.two_scales);
  lines.push(method === 'pairs' ? instructions.open_pairs : instructions.open);
  return paragraphs(lines);
}

function showInstructions() {
  const {method, training} = session.test;
  const proceed = button(texts.continue, () => { session.answers.setFlag('instructed'); goOn(); });
  const practice = training.length ? paragraphs([texts.practice_next]) : [];
  showCard(texts.instructions_title, ...instructionsFor(session.test), ...practice,
    element('p', {class: 'keys'}, texts.keys[method]), element('div', {class: 'actions'}, proceed));
}

function showPractice(index) {
  const {test, answers} = session;
  const after = () => {
    if (index + 1 < test.training.length) return showPractice(index + 1);
    answers.setFlag('practised');
    return goOn();
  };
  const view = createTrial(test, test.training[index], texts.practice, after);
  show(view, view.element);
}

function showBreak({batch, position, trials}) {
  const values = {batch: batchNumber(batch), batches: session.batches.length, total: trials.length - position + 1};
  const text = values.batch === 1 ? texts.break_first : texts.break_later;
  const start = button(texts.start, () => { session.begun = batch; goOn(); });
  showCard(filled(texts.break_title, values), ...paragraphs([filled(text, values)]), element('div', {class: 'actions'}, start));
}

function batchNumber(batch) {
  return session.batches.findIndex((one) => one.batch === batch) + 1;
}

function stepText({batch, position, trials}) {
  const part = filled(texts.batch, {batch: batchNumber(batch), batches: session.batches.length});
  const place = filled(texts.place, {place: position, total: trials.length});
  return session.batches.length > 1 ? part + ' · ' + place : place;
}

function showTrial(place) {
  const view = createTrial(session.test, place.trial, stepText(place), (given) => keep(place, given));
  view.place = place;
  show(view, view.element);
  preload(place.trials[place.position]);
}

function preload(trial) {
  for (const name of ['audio', 'audio_a', 'audio_b']) if (trial?.[name]) new Audio().src = trial[name];
}

function keep({batch, position, trial}, {scores, seconds, heard}) {
  const order = session.answers.all().length + 1;
  const answered = new Date().toISOString();
  session.answers.add({rater: session.rater, batch, position, trial: trial.trial, scores, seconds, heard, order, answered_at: answered});
  session.send?.();
  goOn();
}

function showPaused() {
  showCard(texts.paused_title, ...paragraphs([texts.paused]), element('div', {class: 'actions'}, button(texts.resume, goOn)));
}

function showDone() {
  const waits = session.send && session.answers.unsent().length;
  const isNeeded = !session.send || session.answers.refused().length;
  const lines = [...(isNeeded ? [texts.done_download] : []), ...(waits ? [texts.done_waiting] : [])];
  const download = button(texts.download, saveToDisk, {class: isNeeded ? 'main-button' : 'main-button second'});
  showAs({isDone: true}, texts.done_title, ...paragraphs(lines.length ? lines : [texts.done_saved]), element('div', {class: 'actions'}, download));
}

function saveToDisk() {
  downloadAnswers(session.test.id, session.rater, session.answers);
}

function followOtherTab() {
  const {place} = session.view;
  if (place && session.answers.has(place)) goOn();
  else refreshFrame();
}

function sent() {
  if (session.view.isDone) showDone();
  else refreshFrame();
  followOtherTab();
}

function start(test, rater, batches) {
  Object.assign(session, {test, rater, batches, answers: openAnswers(test.id, rater, batches)});
  window.addEventListener('storage', followOtherTab);
  goOn();
}

function askForRater(test, unknown) {
  const input = element('input', {type: 'text', id: 'rater', autocomplete: 'off', required: true});
  const enter = (event) => { event.preventDefault(); startAlone(test, input.value.trim()); };
  const note = unknown ? element('p', {class: 'failure', role: 'alert'}, filled(texts.rater_unknown, {rater: unknown})) : null;
  const submit = element('button', {type: 'submit', class: 'main-button'}, texts.continue);
  const form = element('form', {onsubmit: enter}, element('label', {class: 'field'}, texts.rater_label, input), note, element('div', {class: 'actions'}, submit));
  showCard(texts.rater_title, form);
  input.focus();
}

function startAlone(test, rater) {
  if (Object.hasOwn(test.raters, rater)) start(test, rater, test.raters[rater]);
  else askForRater(test, rater);
}

async function fetchOwnTest(token) {
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    const response = await requestWith(token, 'api/test').catch(() => null);
    if (response?.ok || response?.status === 401) return response;
    showCard(texts.title, ...paragraphs([texts.unreachable]));
    await new Promise((resolve) => { setTimeout(resolve, wait); });
  }
}

async function startOnServer(token) {
  showCard(texts.loading);
  const response = await fetchOwnTest(token);
  if (response.status === 401) return showCard(texts.title, ...paragraphs([texts.link_invalid]));
  const {test, rater, batches, answers} = await response.json();
  answers.forEach(openAnswers(test.id, rater, batches).adopt);
  start(test, rater, batches);
  session.send = openSender(session.answers, token, sent);
  session.send();
  return refreshFrame();
}

function fromAddress(name) {
  return new URLSearchParams(location.hash.slice(1)).get(name) ?? '';
}

function setUpFrame() {
  document.documentElement.lang = texts.language;
  document.documentElement.dir = texts.direction;
  document.title = byId('title').textContent = texts.title;
  byId('take-break').textContent = texts.take_break;
  byId('take-break').addEventListener('click', showPaused);
  byId('download').textContent = texts.download;
  byId('download').addEventListener('click', saveToDisk);
  document.addEventListener('keydown', (event) => session.view?.press?.(event));
  window.addEventListener('hashchange', () => location.reload());
}

setUpFrame();
if (window.listenTest) startAlone(window.listenTest, fromAddress('rater'));
else startOnServer(fromAddress('token'));
