'use strict';
// A clip's player; it knows how much of the clip was really played, which seeking does not add to.

function heardShare(audio) {
  if (!(audio.duration > 0)) return 0;
  let seconds = 0;
  for (let i = 0; i < audio.played.length; i += 1) seconds += audio.played.end(i) - audio.played.start(i);
  return Math.min(1, seconds / audio.duration);
}

function clock(seconds) {
  const whole = Number.isFinite(seconds) ? Math.floor(seconds) : 0;
  return Math.floor(whole / 60) + ':' + String(whole % 60).padStart(2, '0');
}

function createPlayer(url, label, progressed) {
  const audio = element('audio', {src: url, preload: 'auto'});
  const toggleButton = element('button', {type: 'button', class: 'play', onclick: toggle});
  const replayButton = element('button', {type: 'button', class: 'quiet replay', 'aria-label': texts.replay, title: texts.replay, onclick: replay}, '↺');
  const place = element('input', {type: 'range', min: 0, max: 1000, value: 0, step: 1, 'aria-label': texts.position, oninput: seek});
  const time = element('span', {class: 'time'});
  const retry = element('button', {type: 'button', class: 'quiet', onclick: () => { failure.hidden = true; audio.load(); }}, texts.retry);
  const failure = element('p', {class: 'failure', role: 'alert', hidden: true}, texts.audio_failed + ' ', retry);

  function toggle() {
    if (audio.paused) audio.play().catch(() => {});
    else audio.pause();
  }

  function replay() {
    audio.currentTime = 0;
    audio.play().catch(() => {});
  }

  function seek() {
    if (audio.duration > 0) audio.currentTime = place.value / 1000 * audio.duration;
  }

  function refresh() {
    const share = audio.duration > 0 ? audio.currentTime / audio.duration : 0;
    place.value = Math.round(1000 * share);
    place.style.setProperty('--share', 100 * share + '%');
    place.setAttribute('aria-valuetext', clock(audio.currentTime));
    time.textContent = clock(audio.currentTime) + ' / ' + clock(audio.duration);
    toggleButton.classList.toggle('playing', !audio.paused);
    toggleButton.setAttribute('aria-label', (audio.paused ? texts.play : texts.pause) + ': ' + label);
    progressed();
  }

  function pauseOthers() {
    document.querySelectorAll('audio').forEach((other) => other !== audio && other.pause());
  }

  for (const event of ['timeupdate', 'play', 'pause', 'ended', 'durationchange', 'seeked']) audio.addEventListener(event, refresh);
  audio.addEventListener('play', pauseOthers);
  audio.addEventListener('error', () => { failure.hidden = false; });
  const controls = element('div', {class: 'controls'}, toggleButton, place, time, replayButton);
  const caption = label === texts.player ? null : element('p', {class: 'caption'}, label);
  const section = element('section', {class: 'player', 'aria-label': label}, caption, controls, audio, failure);
  return {element: section, audio, toggle, replay, refresh, heard: () => heardShare(audio)};
}
