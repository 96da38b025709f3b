'use strict';
// One trial: the text, its clip or two clips, the scales, and the keys that work them.

function createStopwatch() {
  let seconds = 0;
  let since = performance.now();
  const stop = () => { seconds += (performance.now() - since) / 1000; };
  const turn = () => (document.hidden ? stop() : since = performance.now());
  document.addEventListener('visibilitychange', turn);
  return () => {
    if (!document.hidden) stop();
    document.removeEventListener('visibilitychange', turn);
    return Math.round(100 * seconds) / 100;
  };
}

function createPlayers(trial, progressed) {
  if ('audio' in trial) return [createPlayer(trial.audio, texts.player, progressed)];
  return [createPlayer(trial.audio_a, texts.player_a, progressed), createPlayer(trial.audio_b, texts.player_b, progressed)];
}

function promptHeading(prompt) {
  if (!prompt) return element('h1', {tabindex: -1}, texts.no_prompt);
  const label = element('span', {class: 'label'}, texts.prompt_label);
  return element('h1', {class: 'prompt', tabindex: -1}, label, element('span', {dir: 'auto'}, prompt));
}

function createTrial(test, trial, step, finished) {
  const elapsed = createStopwatch();
  const players = createPlayers(trial, refresh);
  const scales = createScales(test, refresh);
  const listenFirst = test.method === 'pairs' ? texts.listen_first_pairs : texts.listen_first;
  const hint = element('p', {class: 'hint', role: 'status'}, listenFirst);
  const next = button(texts.next, finish, {disabled: true});
  let isOpen = false;

  function heard() {
    return Math.min(...players.map((player) => player.heard()));
  }

  function open() {
    isOpen = true;
    hint.textContent = texts.score_now;
    scales.forEach((scale) => { scale.element.disabled = false; });
  }

  function refresh() {
    if (!isOpen && heard() >= test.heard_share - 0.01) open();
    next.disabled = !isOpen || scales.some((scale) => scale.value() === null);
  }

  function finish() {
    if (next.disabled) return;
    next.disabled = true;
    players.forEach((player) => player.audio.pause());
    const scores = Object.fromEntries(scales.map((scale) => [scale.name, scale.value()]));
    finished({scores, seconds: elapsed(), heard: Math.round(1000 * heard()) / 1000});
  }

  function scaleForKeys() {
    const focused = scales.find((scale) => scale.element.contains(document.activeElement));
    return focused ?? scales.find((scale) => scale.value() === null) ?? scales[scales.length - 1];
  }

  function chooseByKey(number) {
    if (!isOpen) return;
    const scale = scaleForKeys();
    scale.choose(number);
    const onward = scales.find((other) => other.value() === null) ?? scale;
    (onward.element.querySelector(':checked') ?? onward.element.querySelector('input')).focus();
  }

  function currentPlayer() {
    return players.find((player) => !player.audio.paused) ?? players.find((player) => player.heard() < test.heard_share - 0.01) ?? players[0];
  }

  function press(event) {
    const {key, target} = event;
    const isButton = target.closest('button, a') !== null;
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (key === ' ' && !isButton) currentPlayer().toggle();
    else if (key === 'Enter' && !isButton) finish();
    else if (/^[1-9]$/.test(key)) chooseByKey(Number(key));
    else if (key.toLowerCase() === 'r' && players.length === 1) players[0].replay();
    else if (key.toLowerCase() === 'a' && players.length === 2) players[0].replay();
    else if (key.toLowerCase() === 'b' && players.length === 2) players[1].replay();
    else return;
    event.preventDefault();
  }

  const heading = promptHeading(trial.prompt);
  const view = element('article', {class: 'card trial'}, element('p', {class: 'step'}, step), heading,
    element('div', {class: 'players'}, ...players.map((player) => player.element)), hint,
    element('div', {class: 'scales'}, ...scales.map((scale) => scale.element)),
    element('div', {class: 'actions'}, next, element('p', {class: 'keys'}, texts.keys[test.method])));
  players.forEach((player) => player.refresh());
  return {element: view, press, players, scales, finish, leave: () => { elapsed(); players.forEach((player) => player.audio.pause()); }};
}
