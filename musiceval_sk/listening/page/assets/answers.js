'use strict';
// Answers in local storage, one item each, so that two tabs never overwrite each other's; and their way to the server.

const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30000;
const MOST_AT_ONCE = 50;

function openStorage() {
  try {
    localStorage.setItem('listen:probe', '1');
    localStorage.removeItem('listen:probe');
    return {keeps: true, get: (key) => localStorage.getItem(key), set: (key, value) => localStorage.setItem(key, value)};
  } catch {
    const held = new Map();
    return {keeps: false, get: (key) => held.get(key) ?? null, set: (key, value) => held.set(key, value)};
  }
}

const storage = openStorage();

function openAnswers(testId, rater, batches) {
  const name = (kind, batch, position) => ['listen', testId, rater, kind, batch, position].join(':');
  const places = batches.flatMap(({batch, trials}) => trials.map((trial, index) => ({batch, position: index + 1})));
  const read = ({batch, position}) => JSON.parse(storage.get(name('answer', batch, position)));
  const write = (answer) => storage.set(name('answer', answer.batch, answer.position), JSON.stringify(answer));
  const mark = (kind) => ({batch, position}) => storage.set(name(kind, batch, position), '1');
  const marked = (kind) => ({batch, position}) => storage.get(name(kind, batch, position)) !== null;
  const all = () => places.map(read).filter((answer) => answer !== null);
  return {
    keeps: storage.keeps,
    all,
    has: (place) => read(place) !== null,
    add: (answer) => read(answer) === null && write(answer),
    adopt: (answer) => { write(answer); mark('sent')(answer); },
    markSent: mark('sent'),
    markRefused: mark('refused'),
    refused: () => all().filter((answer) => !marked('sent')(answer) && marked('refused')(answer)),
    unsent: () => all().filter((answer) => !marked('sent')(answer) && !marked('refused')(answer)),
    flag: (kind) => storage.get(name(kind, '', '')) !== null,
    setFlag: (kind) => storage.set(name(kind, '', ''), '1'),
  };
}

function requestWith(token, path, body) {
  const headers = {Authorization: 'Bearer ' + token};
  if (body === undefined) return fetch(path, {headers});
  headers['Content-Type'] = 'application/json';
  return fetch(path, {method: 'POST', headers, body: JSON.stringify(body), keepalive: true});
}

async function deliver(answers, token, sent) {
  const response = await requestWith(token, 'api/answers', sent);
  const isRefused = response.status === 413 || response.status === 422;
  if (response.ok || response.status === 409) {
    const {stored, conflicts} = await response.json();
    stored.forEach(([batch, position]) => answers.markSent({batch, position}));
    conflicts.forEach(answers.adopt);
  } else if (isRefused && sent.length > 1) {
    // The server takes all or none: one by one, it refuses only what it must.
    for (const one of sent) await deliver(answers, token, [one]);
  } else if (isRefused) {
    sent.forEach(answers.markRefused);
  } else {
    throw new Error('status ' + response.status);
  }
}

function openSender(answers, token, changed) {
  let wait = FIRST_WAIT;
  let busy = false;
  let timer = null;

  async function send() {
    if (busy) return;
    busy = true;
    clearTimeout(timer);
    try {
      for (let some = nextToSend(); some.length; some = nextToSend()) {
        await deliver(answers, token, some);
        wait = FIRST_WAIT;
        changed();
      }
    } catch {
      timer = setTimeout(send, wait * (1 + Math.random() / 4));
      wait = Math.min(2 * wait, LONGEST_WAIT);
      changed();
    } finally {
      busy = false;
    }
  }

  const nextToSend = () => answers.unsent().slice(0, MOST_AT_ONCE);
  window.addEventListener('online', send);
  return send;
}

function downloadAnswers(testId, rater, answers) {
  const content = {format: 'musiceval-answers', version: 1, test: testId, rater, answers: answers.all()};
  const url = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], {type: 'application/json'}));
  const link = element('a', {href: url, download: `answers-${rater}.json`});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
