'use strict';
// Who is how far, and how often each clip was rated; asked for anew every few seconds.

const EVERY = 5000;
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';

function byId(id) {
  return document.getElementById(id);
}

function cell(tag, content, attributes = {}) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(content);
  return made;
}

function bar(done, total, label) {
  const made = cell('progress', '', {'aria-label': label});
  made.max = total;
  made.value = done;
  return made;
}

function row(name, {done, total}, ...others) {
  const made = document.createElement('tr');
  const counts = done + ' of ' + total;
  made.append(cell('th', name, {scope: 'row'}), cell('td', counts), cell('td', bar(done, total, counts), {class: 'bar'}), ...others);
  return made;
}

function ago(time) {
  if (time === null) return '–';
  const minutes = Math.floor((Date.now() - Date.parse(time)) / 60000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return minutes + ' min ago';
  return minutes < 2880 ? Math.floor(minutes / 60) + ' h ago' : Math.floor(minutes / 1440) + ' days ago';
}

function fact(label, value) {
  const made = document.createElement('div');
  made.append(cell('dt', label), cell('dd', value));
  return made;
}

function sum(rows, name) {
  return rows.reduce((all, one) => all + one[name], 0);
}

function showOverview({raters, clips}) {
  const finished = raters.filter(({done, total}) => done === total).length;
  const full = clips.filter(({done, total}) => done === total).length;
  byId('facts').replaceChildren(
    fact('Answers', sum(raters, 'done') + ' of ' + sum(raters, 'total')),
    fact('Raters who finished', finished + ' of ' + raters.length),
    fact('Clips with all ratings', full + ' of ' + clips.length));
  byId('raters').replaceChildren(...raters.map((one) => row(one.rater, one, cell('td', ago(one.last)))));
  byId('clips').replaceChildren(...clips.map((one) => row(one.clip, one)));
  byId('refreshed').textContent = 'Refreshed ' + new Date().toLocaleTimeString();
}

async function refresh() {
  try {
    const response = await fetch('api/overview', {headers: {Authorization: 'Bearer ' + token}});
    if (response.ok) showOverview(await response.json());
    else byId('refreshed').textContent = 'This link is not valid here; see the file of links.';
  } catch {
    byId('refreshed').textContent = 'The server cannot be reached';
  }
  setTimeout(refresh, EVERY);
}

refresh();
